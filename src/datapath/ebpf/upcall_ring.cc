// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/upcall_ring.h"

#include <bpf/libbpf.h>

#include <cerrno>

#include "bpf/abi.h"
#include "packet/checksum.h"

namespace plexus::datapath {
namespace {

/// The kernel does not tell programs whether a packet's checksum is left to hardware; the bytes do.
bool checksum_is_partial(std::span<const uint8_t> frame) {
  const ParsedPacket parsed = parse_packet(frame);
  if (parsed.error != ParseError::none || !transport_checksum_is_partial(parsed, frame))
    return false;
  // One complete checksum in 65,536 looks like a partial one.
  return !transport_checksum_ok(parsed, frame);
}

}  // namespace

Result<std::unique_ptr<UpcallRing>> UpcallRing::open(int ring_fd, int waiting_fd) {
  auto waiting = MappedArray<uint64_t>::map(waiting_fd);
  if (!waiting) return waiting.error();
  std::unique_ptr<UpcallRing> out(new UpcallRing(std::move(*waiting)));
  out->ring_ = ring_buffer__new(ring_fd, on_record, out.get(), nullptr);
  if (out->ring_ == nullptr) return errno_error("opening the upcall ring", errno);
  return out;
}

UpcallRing::~UpcallRing() {
  ring_buffer__free(ring_);
}

int UpcallRing::fd() const {
  return ring_buffer__epoll_fd(ring_);
}

int UpcallRing::on_record(void* self, void* record, size_t size) {
  auto& ring = *static_cast<UpcallRing*>(self);
  plexus_upcall header;
  if (size >= sizeof header) {
    std::memcpy(&header, record, sizeof header);
    if (header.port_index < ring.waiting_.size()) {
      const uint64_t cost = PLEXUS_UPCALL_COST(size);
      __atomic_fetch_sub(&ring.waiting_[header.port_index], cost, __ATOMIC_RELAXED);
    }
    const auto* frame = static_cast<const uint8_t*>(record) + sizeof header;
    if (header.length <= size - sizeof header) {
      Upcall upcall;
      upcall.in_port = DpPort{header.in_port};
      upcall.tunnel_key = header.tunnel_key;
      upcall.frame.assign(frame, frame + header.length);
      upcall.offload.gso_size = header.gso_size;
      upcall.offload.partial_checksum = checksum_is_partial(upcall.frame);
      ++ring.taken_;
      (*ring.sink_)(std::move(upcall));
    }
  }
  // A negative answer ends the round; this record counts as consumed.
  return --ring.left_ == 0 ? -ECANCELED : 0;
}

size_t UpcallRing::receive(size_t limit, const std::function<void(Upcall&&)>& sink) {
  if (limit == 0) return 0;
  left_ = limit;
  taken_ = 0;
  sink_ = &sink;
  (void)ring_buffer__consume(ring_);
  sink_ = nullptr;
  return taken_;
}

}  // namespace plexus::datapath
