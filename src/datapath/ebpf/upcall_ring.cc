// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/upcall_ring.h"

#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

Result<std::unique_ptr<UpcallRing>> UpcallRing::open(int ring_fd, int waiting_fd,
                                                     uint64_t queue_bytes) {
  auto waiting = MappedArray<uint64_t>::map(waiting_fd);
  if (!waiting) return waiting.error();
  std::unique_ptr<UpcallRing> out(new UpcallRing(std::move(*waiting), queue_bytes));
  out->ring_ = ring_buffer__new(ring_fd, on_record, out.get(), nullptr);
  if (out->ring_ == nullptr) return errno_error("opening the upcall ring", errno);
  out->event_ = UniqueFd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  epoll_event readable{};
  readable.events = EPOLLIN;
  // libbpf's own epoll set, of which we use nothing but that it is readable.
  if (!out->event_.valid() ||
      ::epoll_ctl(out->fd(), EPOLL_CTL_ADD, out->event_.get(), &readable) != 0)
    return errno_error("an event for waiting upcalls", errno);
  return out;
}

UpcallRing::~UpcallRing() {
  ring_buffer__free(ring_);
}

int UpcallRing::fd() const {
  return ring_buffer__epoll_fd(ring_);
}

void UpcallRing::settle(uint32_t account, uint64_t cost) {
  if (account < waiting_.size()) __atomic_fetch_sub(&waiting_[account], cost, __ATOMIC_RELAXED);
}

int UpcallRing::on_record(void* self, void* record, size_t size) {
  auto& ring = *static_cast<UpcallRing*>(self);
  plexus_upcall header;
  if (size < sizeof header) return 0;
  std::memcpy(&header, record, sizeof header);
  const uint64_t cost = PLEXUS_UPCALL_COST(size);
  if (header.length > size - sizeof header) {
    ring.settle(header.port_index, cost);
    return 0;
  }
  const auto* frame = static_cast<const uint8_t*>(record) + sizeof header;
  WaitingUpcall waiting;
  waiting.cost = cost;
  waiting.account = header.port_index;
  waiting.upcall.in_port = DpPort{header.in_port};
  waiting.upcall.tunnel_key = header.tunnel_key;
  waiting.upcall.offload.gso_size = header.gso_size;
  waiting.upcall.frame.assign(frame, frame + header.length);
  if (!ring.queue_.push(std::move(waiting))) {
    ring.settle(header.port_index, cost);
    ring.lost_.fetch_add(1, std::memory_order_relaxed);
  }
  return 0;
}

void UpcallRing::announce(bool waiting) {
  if (announced_ == waiting) return;
  announced_ = waiting;
  uint64_t value = 1;
  [[maybe_unused]] const auto n = waiting ? ::write(event_.get(), &value, sizeof value)
                                          : ::read(event_.get(), &value, sizeof value);
}

size_t UpcallRing::receive(Quota quota, const std::function<void(Upcall&&)>& sink) {
  if (quota.in_all == 0) return 0;
  (void)ring_buffer__consume(ring_);
  const size_t count = queue_.pop(quota, [&](WaitingUpcall&& waiting) {
    settle(waiting.account, waiting.cost);
    waiting.upcall.offload.partial_checksum = checksum_is_partial(waiting.upcall.frame);
    sink(std::move(waiting.upcall));
  });
  announce(!queue_.empty());
  return count;
}

}  // namespace plexus::datapath
