// SPDX-License-Identifier: Apache-2.0
// Route netlink: links, addresses and tc filters of one network namespace (that of the thread that called open()).
// One thread at a time. Errors: not_found, exists, denied, ... from the kernel's errno; each says what was asked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "netlink/socket.h"
#include "packet/addr.h"

namespace plexus::netlink {

/// A network interface.
struct Link {
  uint32_t index = 0;
  std::string name;
  std::string kind;  ///< "veth", "vxlan", "tun"; empty for hardware and lo
  MacAddr mac;
  bool up = false;
  uint32_t mtu = 0;
  uint32_t peer_index = 0;  ///< veth: the other end; 0 when unknown
  std::optional<int32_t>
      peer_namespace;  ///< veth: id of the other end's namespace, when it is not this one
  bool operator==(const Link&) const = default;
};

/// An address of an interface.
struct InterfaceAddress {
  uint32_t link_index = 0;
  IpPrefix prefix;  ///< with host bits
  bool operator==(const InterfaceAddress&) const = default;
};

struct VethSpec {
  std::string name, peer;
  uint32_t mtu = 1500;
  std::optional<int> peer_namespace_fd;  ///< where the peer goes; none: stays here
};

/// A vxlan device in external mode (collect_md): who and where is told per packet.
struct VxlanSpec {
  std::string name;
  uint16_t udp_port = 4789;
  uint32_t mtu = 0;  ///< 0: as large as the kernel allows
};

/// What a link message says; none for other messages and for malformed ones.
[[nodiscard]] std::optional<Link> link_of(const Message& message);

class Route {
 public:
  static Result<Route> open();

  Result<std::vector<Link>> links();
  Result<Link> link(const std::string& name);
  Result<Link> link(uint32_t index);
  /// A link of the namespace with this id (as in Link::peer_namespace).
  Result<Link> link_in(int32_t namespace_id, uint32_t index);
  Result<std::vector<InterfaceAddress>> addresses();

  Result<void> create_veth(const VethSpec& spec);
  /// unsupported: the kernel has no vxlan. exists: also when another external vxlan device uses the UDP port.
  Result<void> create_vxlan(const VxlanSpec& spec);
  /// The UDP port of a vxlan device; not_found when it is none in external mode.
  Result<uint16_t> vxlan_udp_port(const std::string& name);
  Result<void> delete_link(uint32_t index);
  Result<void> set_up(uint32_t index, bool up);
  /// The kernel makes no IPv6 link-local address when the link comes up, so it sends nothing there by
  /// itself. Fails where there is no IPv6.
  Result<void> set_no_link_local(uint32_t index);
  /// Moves a link into another namespace.
  Result<void> move(uint32_t index, int namespace_fd);
  Result<void> add_address(uint32_t index, const IpPrefix& address);

  /// How many filters a clsact qdisc holds on both hooks; 0 also without such a qdisc.
  Result<size_t> count_tc_filters(uint32_t index);
  /// Removes the clsact qdisc and all its filters.
  Result<void> delete_clsact(uint32_t index);

 private:
  explicit Route(Socket socket) : socket_(std::move(socket)) {}
  Result<Link> one_link(Writer& request);

  Socket socket_;
};

/// An interface that appeared, changed or vanished.
struct LinkEvent {
  bool gone = false;
  Link link;
};

/// Events about the links of one namespace. Poll fd(), then read().
class LinkMonitor {
 public:
  static Result<LinkMonitor> open();
  [[nodiscard]] int fd() const { return socket_.fd(); }
  /// All events that wait, oldest first; never blocks. no_space: events were lost, list the links anew.
  Result<std::vector<LinkEvent>> read();

 private:
  explicit LinkMonitor(Socket socket) : socket_(std::move(socket)) {}
  Socket socket_;
};

}  // namespace plexus::netlink
