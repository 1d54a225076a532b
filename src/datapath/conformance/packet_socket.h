// SPDX-License-Identifier: Apache-2.0
// PacketSocket: an AF_PACKET socket on one interface, with offloads described (PACKET_VNET_HDR) and VLAN tags put back where
// they were. For tests and tools: header only. It stays with its interface when the thread changes namespaces.
#pragma once

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "datapath/datapath.h"
#include "packet/bytes.h"
#include "packet/checksum.h"

namespace plexus::datapath {

class PacketSocket {
 public:
  static Result<PacketSocket> open(uint32_t ifindex) {
    UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!fd.valid()) return errno_error("opening a packet socket", errno);
    const int on = 1, bytes = 64 << 20;
    (void)::setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on);
    (void)::setsockopt(fd.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof on);
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(ifindex);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      return errno_error("binding a packet socket", errno);
    return PacketSocket(std::move(fd));
  }

  [[nodiscard]] int fd() const { return fd_.get(); }

  Result<void> send(std::span<const uint8_t> frame, const Offload& offload) {
    Header header{};
    if (offload.partial_checksum || offload.gso_size > 0) {
      const ParsedPacket p = parse_packet(frame);
      const auto at = transport_checksum_offset(p);
      if (!at) return Error{ErrorCode::invalid, "an offload for a packet without a checksum"};
      header.flags = 1;  // VIRTIO_NET_HDR_F_NEEDS_CSUM
      header.checksum_start = p.l4_offset;
      header.checksum_offset = static_cast<uint16_t>(*at - p.l4_offset);
      if (offload.gso_size > 0) {
        header.gso_type = p.key.is_ipv6() ? 4 : 1;
        header.gso_size = offload.gso_size;
        header.header_length = static_cast<uint16_t>(p.l4_offset + 20);
      }
    }
    iovec parts[2] = {{&header, sizeof header}, {const_cast<uint8_t*>(frame.data()), frame.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    if (::sendmsg(fd_.get(), &message, 0) < 0) return errno_error("sending a frame", errno);
    return {};
  }

  /// The next frame that came in; none when there is none within `timeout_ms`.
  std::optional<std::pair<Offload, std::vector<uint8_t>>> receive(int timeout_ms) {
    for (;;) {
      pollfd readable{fd_.get(), POLLIN, 0};
      if (::poll(&readable, 1, timeout_ms) <= 0) return std::nullopt;
      Header header{};
      std::vector<uint8_t> frame(1 << 17);
      iovec parts[2] = {{&header, sizeof header}, {frame.data(), frame.size()}};
      sockaddr_ll from{};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(tpacket_auxdata))];
      msghdr message{};
      message.msg_name = &from;
      message.msg_namelen = sizeof from;
      message.msg_iov = parts;
      message.msg_iovlen = 2;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t n = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
      if (n < static_cast<ssize_t>(sizeof header)) continue;
      if (from.sll_pkttype == PACKET_OUTGOING) continue;  // our own
      last_type_ = from.sll_pkttype;
      frame.resize(static_cast<size_t>(n) - sizeof header);
      put_back_tag(message, frame);
      return std::pair{
          Offload{header.gso_type == 0 ? uint16_t{0} : header.gso_size, header.flags == 1},
          std::move(frame)};
    }
  }

  /// PACKET_HOST, PACKET_OTHERHOST, ...: whom the kernel took the last received frame to be for.
  [[nodiscard]] int last_type() const { return last_type_; }

 private:
  /// struct virtio_net_hdr.
  struct Header {
    uint8_t flags, gso_type;
    uint16_t header_length, gso_size, checksum_start, checksum_offset;
  };

  explicit PacketSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  static void put_back_tag(msghdr& message, std::vector<uint8_t>& frame) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
      tpacket_auxdata aux;
      std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
      if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0) continue;
      const uint16_t type =
          (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? aux.tp_vlan_tpid : uint16_t{0x8100};
      const uint8_t tag[4] = {static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type),
                              static_cast<uint8_t>(aux.tp_vlan_tci >> 8),
                              static_cast<uint8_t>(aux.tp_vlan_tci)};
      frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
    }
  }

  UniqueFd fd_;
  int last_type_ = 0;
};

}  // namespace plexus::datapath
