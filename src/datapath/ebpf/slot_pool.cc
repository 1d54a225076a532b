// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/slot_pool.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace plexus::datapath {

SlotPool::SlotPool(uint32_t first, uint32_t size, const std::vector<bool>& used) {
  // Lowest first: taken from the back.
  for (uint32_t slot = size; slot > first; --slot)
    if (slot - 1 >= used.size() || !used[slot - 1]) free_.push_back(slot - 1);
}

std::optional<uint32_t> SlotPool::take() {
  if (free_.empty()) return std::nullopt;
  const uint32_t slot = free_.back();
  free_.pop_back();
  return slot;
}

void SlotPool::wake() {
  free_.insert(free_.end(), resting_.begin(), resting_.end());
  resting_.clear();
}

void SlotPool::set_aside() {
  aside_.insert(aside_.end(), resting_.begin(), resting_.end());
  resting_.clear();
}

void SlotPool::wake_aside() {
  free_.insert(free_.end(), aside_.begin(), aside_.end());
  aside_.clear();
}

void wait_for_readers() {
  // MEMBARRIER_CMD_GLOBAL is the kernel's synchronize_rcu(). Kernels with nohz_full CPUs refuse it: there, a time that no
  // program's run comes near.
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

}  // namespace plexus::datapath
