// SPDX-License-Identifier: Apache-2.0
// UpcallRing: the consumer's side of the ring buffer that carries upcalls. The ring is one queue for all ports; what is in it moves into
// an UpcallQueue, where they take turns. A port's account goes down when its upcall is handed out, so that the two together hold no more of it
// than it may have waiting. One thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/unique_fd.h"
#include "datapath/datapath.h"
#include "datapath/ebpf/mapped_array.h"
#include "datapath/upcall_queue.h"

struct ring_buffer;

namespace plexus::datapath {

class UpcallRing {
 public:
  /// `queue_bytes`: of all ports, small frames counting a kilobyte each.
  static Result<std::unique_ptr<UpcallRing>> open(int ring_fd, int waiting_fd,
                                                  uint64_t queue_bytes);
  ~UpcallRing();
  UpcallRing(const UpcallRing&) = delete;
  UpcallRing& operator=(const UpcallRing&) = delete;

  /// Readable while upcalls wait, here or in the ring.
  [[nodiscard]] int fd() const;
  /// See Datapath.
  size_t receive(Quota quota, const std::function<void(Upcall&&)>& sink);
  void set_group(DpPort port, uint64_t group) { queue_.set_group(port, group); }
  /// Upcalls for which the queue had no room. Any thread.
  [[nodiscard]] uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  UpcallRing(MappedArray<uint64_t> waiting, uint64_t queue_bytes)
      : waiting_(std::move(waiting)), queue_(queue_bytes) {}
  static int on_record(void* self, void* record, size_t size);
  void settle(uint32_t account, uint64_t cost);
  /// Makes fd() readable, or not, for the queue's sake.
  void announce(bool waiting);

  MappedArray<uint64_t> waiting_;  ///< by port index: what a port's waiting records cost
  ring_buffer* ring_ = nullptr;
  UniqueFd event_;
  bool announced_ = false;
  UpcallQueue queue_;
  std::atomic<uint64_t> lost_{0};
};

}  // namespace plexus::datapath
