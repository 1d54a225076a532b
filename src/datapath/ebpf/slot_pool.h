// SPDX-License-Identifier: Apache-2.0
// SlotPool: which elements of an array map are free. A slot that is given back rests: a kernel program on another CPU may
// still read it. It is used again only after an RCU grace period, which the owner brings about (wait_for_readers)
// when it runs out.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace plexus::datapath {

class SlotPool {
 public:
  /// Slots [first, size) are free, but for those in `used` (indexed by slot).
  SlotPool(uint32_t first, uint32_t size, const std::vector<bool>& used = {});

  /// None: none is free. Resting ones may be, see wake().
  [[nodiscard]] std::optional<uint32_t> take();
  void give_back(uint32_t slot) { resting_.push_back(slot); }
  /// To be called right after a grace period: the resting slots are free.
  void wake();
  [[nodiscard]] size_t resting() const { return resting_.size(); }

  /// For a grace period that others need not wait for: the slots that rest now are those that are free when it has ended.
  void set_aside();
  void wake_aside();

 private:
  std::vector<uint32_t> free_, resting_, aside_;
};

/// Returns when every kernel program that ran at the time of the call has ended (an RCU grace period; ~10 ms).
void wait_for_readers();

}  // namespace plexus::datapath
