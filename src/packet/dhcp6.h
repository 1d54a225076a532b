// SPDX-License-Identifier: Apache-2.0
// DHCPv6 messages between clients and servers (RFC 8415): a checked view of what came, and a builder. Relayed messages have
// another form and are none.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "packet/addr.h"
#include "packet/headers.h"

namespace plexus {

namespace dhcp6 {

inline constexpr uint16_t kClientPort = 546, kServerPort = 547;
/// ff02::1:2
[[nodiscard]] IpAddr all_servers();

enum class Type : uint8_t {
  solicit = 1,
  advertise,
  request,
  confirm,
  renew,
  rebind,
  reply,
  release,
  decline,
  reconfigure,
  information_request,
};

namespace option {
inline constexpr uint16_t kClientId = 1, kServerId = 2, kIaNa = 3, kIaTa = 4, kIaAddress = 5,
                          kOptionRequest = 6, kPreference = 7, kElapsed = 8, kStatus = 13,
                          kRapidCommit = 14, kNameServers = 23, kDomains = 24, kIaPd = 25,
                          kSimpleTimeServers = 31,  // RFC 4075
    kRefreshTime = 32, kTimeServer = 56;            // RFC 5908
}
enum class Status : uint16_t {
  success = 0,
  no_addresses = 2,
  no_binding = 3,
  not_on_link = 4,
  no_prefix = 6,
};

using Option = std::pair<uint16_t, std::vector<uint8_t>>;

/// An address of an identity association, with its lifetimes in seconds.
struct Lease {
  IpAddr address;
  uint32_t preferred = 0, valid = 0;
  bool operator==(const Lease&) const = default;
};
/// IA_NA: what a client wants addresses for, and gets.
struct Association {
  uint32_t id = 0;
  uint32_t t1 = 0, t2 = 0;  ///< seconds
  std::vector<Lease> leases;
  std::optional<Status> status = {};
  bool operator==(const Association&) const = default;
};

struct Message {
  uint8_t type = 0;
  uint32_t xid = 0;  ///< 24 bits
  std::vector<Option> options;
};

[[nodiscard]] std::vector<uint8_t> encode(const Message& message);
/// The value of option IA_NA.
[[nodiscard]] std::vector<uint8_t> encode(const Association& association);
/// The same, read; unknown options inside are passed over. None when it is not whole.
[[nodiscard]] std::optional<Association> decode_association(std::span<const uint8_t> value);
/// The value of option status: a code and a text for people.
[[nodiscard]] std::vector<uint8_t> encode_status(Status status, std::string_view text);
/// A domain as DNS writes it (RFC 1035 3.1); none when it has an empty or too long label, or is too long.
[[nodiscard]] std::optional<std::vector<uint8_t>> encode_domain(std::string_view domain);
/// DUID-LL (RFC 8415 11.4): the identity of who has this MAC.
[[nodiscard]] std::vector<uint8_t> duid_of(const MacAddr& mac);

}  // namespace dhcp6

/// A whole message of a client or server: type, transaction, options that end where it does.
class Dhcp6View : public HeaderView {
 public:
  static constexpr size_t kFixed = 4;
  [[nodiscard]] static std::optional<Dhcp6View> of(std::span<const uint8_t> payload);

  [[nodiscard]] dhcp6::Type type() const { return static_cast<dhcp6::Type>(bytes_[0]); }
  [[nodiscard]] uint32_t xid() const { return be32_at(bytes_, 0) & 0xffffff; }
  /// The value of the first option with that code.
  [[nodiscard]] std::optional<std::span<const uint8_t>> option(uint16_t code) const;
  [[nodiscard]] dhcp6::Message message() const;

 private:
  using HeaderView::HeaderView;
};

}  // namespace plexus
