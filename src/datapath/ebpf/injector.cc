// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/injector.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>

#include "bpf/abi.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "tc_programs.skel.h"

namespace plexus::datapath {
namespace {

constexpr uint32_t kLargestMtu = 65535;
constexpr uint8_t kTcpCwr = 0x80;

/// struct virtio_net_hdr of linux/virtio_net.h, which is no C++. Host order for a packet socket.
struct VnetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_length = 0;
  uint16_t gso_size = 0;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);
constexpr uint8_t kNeedsChecksum = 1, kGsoTcpV4 = 1, kGsoTcpV6 = 4, kGsoEcn = 0x80;

/// The field that the rest of the checksum is added into, as the kernel wants it: the pseudo header's sum.
void make_partial(const ParsedPacket& parsed, size_t checksum_at, std::vector<uint8_t>& frame) {
  const uint32_t length = parsed.length - parsed.l4_offset;
  put_be16(frame, checksum_at,
           checksum_fold(pseudo_header_sum(parsed.key.src_ip(), parsed.key.dst_ip(),
                                           parsed.key.ip_proto, length)));
}

/// Whether new devices of this network namespace have their received packets handled by other CPUs (receive packet steering).
bool steered_by_default() {
  std::string mask;
  if (!(std::ifstream("/proc/sys/net/core/rps_default_mask") >> mask)) return false;
  return mask.find_first_not_of("0,") != std::string::npos;
}

}  // namespace

Result<Injector> Injector::open(netlink::Route& route) {
  auto link = route.link(kInjectionDevice);
  if (!link) {
    netlink::VethSpec spec;
    spec.name = kInjectionDevice;
    spec.peer = kInjectionPeer;
    spec.mtu = kLargestMtu;
    if (auto made = route.create_veth(spec); !made) return made.error();
    link = route.link(kInjectionDevice);
    if (!link) return link.error();
    (void)route.set_no_link_local(link->index).ok();  // fails without IPv6, where it is not needed
  }
  if (link->kind != "veth")
    return Error{ErrorCode::exists,
                 fmt::format("{} is there, but it is no veth", kInjectionDevice)};
  // Only our end has to be up; the peer never receives anything.
  if (auto up = route.set_up(link->index, true); !up) return up.error();

  // Protocol 0: receives nothing.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_error("opening a packet socket", errno);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(link->index);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error("binding a packet socket", errno);
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0)
    return errno_error("PACKET_VNET_HDR", errno);
  const uint32_t mark = PLEXUS_INJECT_MARK;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    return errno_error("SO_MARK", errno);
  // Packets may wait long in a slow VM's queue, still on our account.
  const int bytes = 16 << 20;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
    return errno_error("SO_SNDBUFFORCE", errno);
  return Injector(std::move(socket), link->index);
}

Result<void> Injector::remove(netlink::Route& route) {
  const auto link = route.link(kInjectionDevice);
  if (!link) return {};
  return route.delete_link(link->index);
}

Result<void> Injector::send(std::span<const uint8_t> frame, const Offload& offload) const {
  const ParsedPacket parsed = parse_packet(frame);
  if (parsed.error == ParseError::truncated_ethernet)
    return Error{ErrorCode::invalid, "a frame needs an Ethernet header"};
  if (offload.gso_size == 0 || parsed.key.ip_proto != ip_proto::kUdp)
    return send_one(frame, offload, parsed);
  const auto datagrams = cut_udp(frame, parsed, offload.gso_size);
  if (datagrams.empty())
    return Error{ErrorCode::invalid, "no UDP packet that could be cut into so few as may be"};
  for (const auto& datagram : datagrams)
    if (auto sent = send_one(datagram, {}, parse_packet(datagram)); !sent) return sent;
  return {};
}

Result<void> Injector::send_one(std::span<const uint8_t> frame, const Offload& offload,
                                const ParsedPacket& parsed) const {
  VnetHeader header;
  std::vector<uint8_t> copy;
  std::span<const uint8_t> out = frame;
  if (offload.gso_size > 0 || offload.partial_checksum) {
    const auto checksum_at = transport_checksum_offset(parsed);
    if (!checksum_at) return Error{ErrorCode::invalid, "an offload for a packet that has none"};
    header.flags = kNeedsChecksum;
    header.checksum_start = parsed.l4_offset;
    header.checksum_offset = static_cast<uint16_t>(*checksum_at - parsed.l4_offset);
    if (offload.gso_size > 0) {
      if (parsed.key.ip_proto != ip_proto::kTcp)
        return Error{ErrorCode::invalid, "only TCP and UDP packets can be cut"};
      header.gso_type = parsed.key.is_ipv6() ? kGsoTcpV6 : kGsoTcpV4;
      if ((parsed.key.tcp_flags & kTcpCwr) != 0) header.gso_type |= kGsoEcn;
      header.gso_size = offload.gso_size;
      header.header_length =
          static_cast<uint16_t>(parsed.l4_offset + frame[parsed.l4_offset + size_t{12}] / 16 * 4);
    }
    if (!offload.partial_checksum) {
      copy.assign(frame.begin(), frame.end());
      make_partial(parsed, *checksum_at, copy);
      out = copy;
    }
  }
  iovec parts[2] = {{&header, sizeof header},
                    {const_cast<uint8_t*>(out.data()), out.size()}};  // sendmsg() does not write
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (::sendmsg(socket_.get(), &message, MSG_DONTWAIT) >= 0) return {};
    if (errno == ENOBUFS)
      return Error{ErrorCode::unavailable,
                   "the kernel dropped an injected frame; see the drop counters"};
    if (errno != EAGAIN && errno != EINTR) return errno_error("sending a frame", errno);
    pollfd wait{socket_.get(), POLLOUT, 0};
    ::poll(&wait, 1, 10);
  }
  return Error{ErrorCode::unavailable, "too many frames wait to be delivered"};
}

void Injector::Detach::operator()(bpf_link* link) const {
  bpf_link__destroy(link);
}

void Injector::release_batches() {
  batches_.reset();
  added_ = 0;
}

Result<void> Injector::prepare_batches(const tc_programs& programs) {
  release_batches();
  // Frames would wait for another CPU while the next batch overwrites their entries.
  if (steered_by_default())
    return Error{ErrorCode::unavailable, "net.core.rps_default_mask is not 0"};
  auto frames = MappedArray<plexus_injected>::map(bpf_map__fd(programs.maps.injected));
  if (!frames) return frames.error();
  const unsigned peer = ::if_nametoindex(kInjectionPeer);
  if (peer == 0) return errno_error(kInjectionPeer, errno);
  std::unique_ptr<bpf_link, Detach> link(
      bpf_program__attach_xdp(programs.progs.inject_frames, static_cast<int>(peer)));
  if (!link) return errno_error("attaching to the injection device's other end", errno);
  batches_ = std::make_unique<Batches>(Batches{std::move(*frames), &programs.bss->next_injected,
                                               bpf_program__fd(programs.progs.inject_frames),
                                               std::move(link)});
  lost_batches_ = false;
  return {};
}

bool Injector::takes(std::span<const uint8_t> frame, const Offload& offload) const {
  return batches_ && added_ < PLEXUS_INJECT_BATCH && offload == Offload{} &&
         frame.size() >= PLEXUS_INJECT_LEAST_FRAME && frame.size() <= PLEXUS_INJECT_MAX_FRAME;
}

void Injector::add(std::span<const uint8_t> frame, uint32_t entry) {
  plexus_injected& to = batches_->frames[added_++];
  to.entry = entry;
  to.length = static_cast<uint32_t>(frame.size());
  std::copy(frame.begin(), frame.end(), to.frame);
}

Result<void> Injector::send_added() {
  if (added_ == 0) return {};
  const size_t count = std::exchange(added_, 0);
  static constexpr uint8_t kBlank[PLEXUS_INJECT_LEAST_FRAME] = {};
  *batches_->next = 0;
  xdp_md where{};
  where.data_end = sizeof kBlank;
  where.ingress_ifindex = index_;
  DECLARE_LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = kBlank, .data_size_in = sizeof kBlank,
                      .ctx_in = &where, .ctx_size_in = sizeof where,
                      .repeat = static_cast<int>(count), .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
                      .batch_size = PLEXUS_INJECT_BATCH);
  const int err = bpf_prog_test_run_opts(batches_->program, &run);
  // The program counts the frames that it makes.
  delivered_ = err == 0 ? count : std::min<size_t>(*batches_->next, count);
  if (err != 0) {
    batches_.reset();
    // On a kernel where they never worked they would fail again and again.
    lost_batches_ = batches_worked_;
    return errno_error("sending many frames", -err);
  }
  batches_worked_ = true;
  return {};
}

std::vector<std::vector<uint8_t>> cut_udp(std::span<const uint8_t> frame,
                                          const ParsedPacket& parsed, size_t payload) {
  if (parsed.error != ParseError::none || parsed.key.ip_proto != ip_proto::kUdp ||
      parsed.l4_offset == 0 || parsed.key.ip_frag != static_cast<uint8_t>(FragKind::none) ||
      payload == 0)
    return {};
  const size_t headers = parsed.l4_offset + size_t{8};
  const auto data = frame.first(parsed.length).subspan(headers);
  // Each is a system call, and whoever has sent it has chosen how many.
  if (data.size() > payload * PLEXUS_MAX_UDP_SEGMENTS) return {};
  std::vector<std::vector<uint8_t>> out;
  for (size_t at = 0, n = 0; at < data.size(); at += payload, ++n) {
    const auto part = data.subspan(at, std::min(payload, data.size() - at));
    std::vector<uint8_t> one(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(headers));
    one.insert(one.end(), part.begin(), part.end());
    put_be16(one, parsed.l4_offset + size_t{4}, static_cast<uint16_t>(8 + part.size()));
    const size_t l3 = parsed.l3_offset;
    if (parsed.key.is_ipv4()) {
      const auto set = [&](size_t field, uint16_t value) {
        const uint16_t before = be16_at(one, l3 + field);
        put_be16(one, l3 + field, value);
        put_be16(one, l3 + 10, checksum_update(be16_at(one, l3 + 10), before, value));
      };
      set(2, static_cast<uint16_t>(one.size() - l3));
      set(4, static_cast<uint16_t>(be16_at(one, l3 + 4) + n));
    } else {
      put_be16(one, l3 + 4, static_cast<uint16_t>(one.size() - l3 - 40));
    }
    complete_checksum(parse_packet(one), one);
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace plexus::datapath
