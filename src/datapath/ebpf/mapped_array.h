// SPDX-License-Identifier: Apache-2.0
// MappedArray: an array map seen as memory. Writing an element is a store, reading one costs no system call. The
// kernel programs read and write at the same time: what both touch is accessed atomically by the caller.
#pragma once

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/result.h"

namespace plexus::datapath {

template <typename T>
class MappedArray {
  static_assert(sizeof(T) % 8 == 0, "the kernel rounds elements up to eight bytes");

 public:
  static Result<MappedArray> map(int map_fd) {
    bpf_map_info info{};
    uint32_t length = sizeof info;
    if (bpf_obj_get_info_by_fd(map_fd, &info, &length) != 0)
      return errno_error("asking for a map's size", errno);
    if (info.value_size != sizeof(T))
      return Error{ErrorCode::internal,
                   std::string("map ") + info.name + " has values of another size"};
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t bytes = (info.max_entries * sizeof(T) + page - 1) / page * page;
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
    if (at == MAP_FAILED) return errno_error(std::string("mapping ") + info.name, errno);
    return MappedArray(static_cast<T*>(at), info.max_entries, bytes);
  }

  MappedArray(MappedArray&& o) noexcept
      : at_(std::exchange(o.at_, nullptr)), size_(o.size_), bytes_(o.bytes_) {}
  MappedArray& operator=(MappedArray&&) = delete;
  ~MappedArray() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
  }

  [[nodiscard]] T& operator[](size_t i) const {
    PLEXUS_CHECK(i < size_, "an index within the map");
    return at_[i];
  }
  [[nodiscard]] uint32_t size() const { return size_; }

 private:
  MappedArray(T* at, uint32_t size, size_t bytes) : at_(at), size_(size), bytes_(bytes) {}

  T* at_;
  uint32_t size_;
  size_t bytes_;
};

}  // namespace plexus::datapath
