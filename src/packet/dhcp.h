// SPDX-License-Identifier: Apache-2.0
// DHCPv4 messages (RFC 2131, RFC 2132): a checked view of what came, and a builder.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "packet/addr.h"
#include "packet/headers.h"

namespace plexus {

namespace dhcp {

inline constexpr uint16_t kServerPort = 67, kClientPort = 68;
/// BOOTP relays and old clients expect no less (RFC 1542 2.1).
inline constexpr size_t kMinMessage = 300;
/// The longest name of a boot file: its field ends with a zero.
inline constexpr size_t kMaxFile = 127;

enum class Type : uint8_t {
  discover = 1,
  offer,
  request,
  decline,
  ack,
  nak,
  release,
  inform,
};

namespace option {
inline constexpr uint8_t kPad = 0, kSubnetMask = 1, kRouter = 3, kNameServer = 6, kDomain = 15,
                         kMtu = 26, kBroadcast = 28, kTimeServer = 42, kRequestedAddress = 50,
                         kLeaseTime = 51, kOverload = 52, kMessageType = 53, kServerId = 54,
                         kParameterList = 55, kMessage = 56, kMaxMessage = 57, kRenewalTime = 58,
                         kRebindingTime = 59, kClientId = 61, kBootServer = 66, kBootFile = 67,
                         kRelay = 82,
                         kClasslessRoutes = 121,  // RFC 3442
    kBootServers = 150,                           // RFC 5859: addresses
    kMicrosoftRoutes = 249,                       // as 121, from before it had a number
    kEnd = 255;
}

/// A code and its value.
using Option = std::pair<uint8_t, std::vector<uint8_t>>;

/// What a message says. Options in the order in which they stand in it.
struct Message {
  bool reply = false;  ///< op 2, from a server
  uint8_t hops = 0;
  uint32_t xid = 0;
  uint16_t secs = 0;
  bool broadcast = false;  ///< the client cannot take unicast yet
  IpAddr client = IpAddr::v4(0), your = IpAddr::v4(0), server = IpAddr::v4(0),
         relay = IpAddr::v4(0);  ///< ciaddr, yiaddr, siaddr, giaddr
  MacAddr mac = {};              ///< chaddr
  std::string file = {};         ///< to boot from, at most kMaxFile bytes without a zero
  std::vector<Option> options = {};
};

/// The UDP payload; at least `size` bytes, the rest zeros. Values of more than 255 bytes are divided (RFC 3396).
[[nodiscard]] std::vector<uint8_t> encode(const Message& message, size_t size = kMinMessage);

/// The routes of option 121: each destination with the next hop, both IPv4 (RFC 3442).
[[nodiscard]] std::vector<uint8_t> encode_routes(
    std::span<const std::pair<IpPrefix, IpAddr>> routes);

}  // namespace dhcp

/// A whole DHCPv4 message for Ethernet: fixed fields, magic cookie, options that end within it. Option overload is not
/// looked at, nor is the `sname` field.
class DhcpView : public HeaderView {
 public:
  static constexpr size_t kFixed = 240;  ///< with the cookie
  [[nodiscard]] static std::optional<DhcpView> of(std::span<const uint8_t> payload);

  [[nodiscard]] bool is_reply() const { return bytes_[0] == 2; }
  [[nodiscard]] uint8_t hops() const { return bytes_[3]; }
  [[nodiscard]] uint32_t xid() const { return be32_at(bytes_, 4); }
  [[nodiscard]] uint16_t secs() const { return be16_at(bytes_, 8); }
  [[nodiscard]] bool broadcast() const { return (bytes_[10] & 0x80) != 0; }
  [[nodiscard]] IpAddr client() const { return ipv4_at(bytes_, 12); }
  [[nodiscard]] IpAddr your() const { return ipv4_at(bytes_, 16); }
  [[nodiscard]] IpAddr server() const { return ipv4_at(bytes_, 20); }
  [[nodiscard]] IpAddr relay() const { return ipv4_at(bytes_, 24); }
  [[nodiscard]] MacAddr mac() const { return mac_at(bytes_, 28); }
  /// Up to the first zero.
  [[nodiscard]] std::string file() const;
  /// The value of the first option with that code.
  [[nodiscard]] std::optional<std::span<const uint8_t>> option(uint8_t code) const;
  /// The same of an option that holds one address; none when it has another length.
  [[nodiscard]] std::optional<IpAddr> address_option(uint8_t code) const;
  /// None: no such option, or not one of the RFC's types.
  [[nodiscard]] std::optional<dhcp::Type> type() const;
  /// All that it says, options up to the end option.
  [[nodiscard]] dhcp::Message message() const;

 private:
  using HeaderView::HeaderView;
};

/// The payload of the UDP datagram that a parsed frame holds whole; none of a fragment, of another protocol, and where the
/// UDP length says more than there is.
[[nodiscard]] std::optional<std::span<const uint8_t>> udp_payload(const ParsedPacket& parsed,
                                                                  std::span<const uint8_t> frame);

}  // namespace plexus
