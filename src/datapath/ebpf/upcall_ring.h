// SPDX-License-Identifier: Apache-2.0
// UpcallRing: the consumer's side of the ring buffer that carries upcalls. One thread.
#pragma once

#include <functional>
#include <memory>

#include "datapath/datapath.h"
#include "datapath/ebpf/mapped_array.h"

struct ring_buffer;

namespace plexus::datapath {

class UpcallRing {
 public:
  static Result<std::unique_ptr<UpcallRing>> open(int ring_fd, int waiting_fd);
  ~UpcallRing();
  UpcallRing(const UpcallRing&) = delete;
  UpcallRing& operator=(const UpcallRing&) = delete;

  /// Readable while records wait.
  [[nodiscard]] int fd() const;
  /// See Datapath::receive.
  size_t receive(size_t limit, const std::function<void(Upcall&&)>& sink);

 private:
  explicit UpcallRing(MappedArray<uint64_t> waiting) : waiting_(std::move(waiting)) {}
  static int on_record(void* self, void* record, size_t size);

  MappedArray<uint64_t> waiting_;  ///< by port index: what a port's waiting records cost
  ring_buffer* ring_ = nullptr;
  size_t left_ = 0, taken_ = 0;  ///< during receive()
  const std::function<void(Upcall&&)>* sink_ = nullptr;
};

}  // namespace plexus::datapath
