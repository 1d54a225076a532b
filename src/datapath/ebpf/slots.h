// SPDX-License-Identifier: Apache-2.0
// Slots: user space's side of bpf/lib/slots.h. Values in an array map, each at the low bits of its key; a key of 0 is a free
// place. A place is given to another key only after an RCU grace period, so that no program sees a value change.
// What finds its place taken is left out: programs look into the hash map then. One thread.
#pragma once

#include <vector>

#include "datapath/ebpf/mapped_array.h"
#include "datapath/ebpf/slot_pool.h"

namespace plexus::datapath {

template <typename T, uint32_t T::*kKey>
class Slots {
 public:
  static Result<Slots> open(int map_fd) {
    auto places = MappedArray<T>::map(map_fd);
    if (!places) return places.error();
    return Slots(std::move(*places));
  }

  /// `value`'s key is not 0 and not there yet.
  void put(const T& value) {
    const size_t at = place_of(value.*kKey);
    T& place = places_[at];
    if (place.*kKey != 0) return;
    if (rests_[at]) {
      wait_for_readers();
      rests_.assign(rests_.size(), false);
    }
    T unnamed = value;
    unnamed.*kKey = 0;
    place = unnamed;
    __atomic_store_n(&(place.*kKey), value.*kKey, __ATOMIC_RELEASE);
  }
  void remove(uint32_t key) {
    const size_t at = place_of(key);
    if (places_[at].*kKey != key) return;
    __atomic_store_n(&(places_[at].*kKey), 0u, __ATOMIC_RELEASE);
    rests_[at] = true;
  }

 private:
  explicit Slots(MappedArray<T> places) : places_(std::move(places)), rests_(places_.size()) {}
  [[nodiscard]] size_t place_of(uint32_t key) const { return key & (places_.size() - 1); }

  MappedArray<T> places_;
  std::vector<bool> rests_;  ///< had a key since the last grace period
};

}  // namespace plexus::datapath
