// SPDX-License-Identifier: Apache-2.0
#include "packet/dhcp.h"

#include <algorithm>

#include "base/check.h"

namespace plexus {
namespace {

constexpr uint32_t kCookie = 0x63825363;
constexpr uint8_t kRequest = 1, kReply = 2, kEthernet = 1;
constexpr size_t kMaxValue = 255, kUdpHeader = 8;
constexpr size_t kFileAt = 108;

/// Calls visit(code, value) for each option up to the end; false when one does not fit.
template <typename Visit>
bool walk(std::span<const uint8_t> options, Visit visit) {
  for (size_t at = 0; at < options.size();) {
    const uint8_t code = options[at];
    if (code == dhcp::option::kEnd) return true;
    if (code == dhcp::option::kPad) {
      ++at;
      continue;
    }
    if (at + 2 > options.size() || at + 2 + options[at + 1] > options.size()) return false;
    visit(code, options.subspan(at + 2, options[at + 1]));
    at += 2 + size_t{options[at + 1]};
  }
  return true;
}

}  // namespace

std::optional<DhcpView> DhcpView::of(std::span<const uint8_t> payload) {
  if (payload.size() < kFixed || (payload[0] != kRequest && payload[0] != kReply) ||
      payload[1] != kEthernet || payload[2] != MacAddr{}.bytes.size() ||
      be32_at(payload, kFixed - 4) != kCookie)
    return std::nullopt;
  if (!walk(payload.subspan(kFixed), [](uint8_t, std::span<const uint8_t>) {})) return std::nullopt;
  return DhcpView(payload);
}

std::string DhcpView::file() const {
  const auto field = bytes_.subspan(kFileAt, dhcp::kMaxFile);
  return {field.begin(), std::find(field.begin(), field.end(), 0)};
}

std::optional<std::span<const uint8_t>> DhcpView::option(uint8_t code) const {
  std::optional<std::span<const uint8_t>> found;
  (void)walk(bytes_.subspan(kFixed), [&](uint8_t has, std::span<const uint8_t> value) {
    if (has == code && !found) found = value;
  });
  return found;
}

std::optional<IpAddr> DhcpView::address_option(uint8_t code) const {
  const auto value = option(code);
  if (!value || value->size() != 4) return std::nullopt;
  return ipv4_at(*value, 0);
}

std::optional<dhcp::Type> DhcpView::type() const {
  const auto value = option(dhcp::option::kMessageType);
  if (!value || value->size() != 1 || (*value)[0] < static_cast<uint8_t>(dhcp::Type::discover) ||
      (*value)[0] > static_cast<uint8_t>(dhcp::Type::inform))
    return std::nullopt;
  return static_cast<dhcp::Type>((*value)[0]);
}

dhcp::Message DhcpView::message() const {
  dhcp::Message m{.reply = is_reply(),
                  .hops = hops(),
                  .xid = xid(),
                  .secs = secs(),
                  .broadcast = broadcast(),
                  .client = client(),
                  .your = your(),
                  .server = server(),
                  .relay = relay(),
                  .mac = mac(),
                  .file = file(),
                  .options = {}};
  (void)walk(bytes_.subspan(kFixed), [&](uint8_t code, std::span<const uint8_t> value) {
    m.options.emplace_back(code, std::vector<uint8_t>(value.begin(), value.end()));
  });
  return m;
}

namespace dhcp {

std::vector<uint8_t> encode(const Message& message, size_t size) {
  std::vector<uint8_t> out(DhcpView::kFixed);
  out[0] = message.reply ? kReply : kRequest;
  out[1] = kEthernet;
  out[2] = static_cast<uint8_t>(message.mac.bytes.size());
  out[3] = message.hops;
  put_be32(out, 4, message.xid);
  put_be16(out, 8, message.secs);
  put_be16(out, 10, message.broadcast ? 0x8000 : 0);
  size_t at = 12;
  for (const IpAddr* address : {&message.client, &message.your, &message.server, &message.relay}) {
    PLEXUS_CHECK(address->is_v4(), "DHCPv4 speaks of IPv4 addresses");
    put_bytes(out, at, wire_bytes(*address));
    at += 4;
  }
  put_bytes(out, at, message.mac.bytes);
  PLEXUS_CHECK(message.file.size() <= kMaxFile, "a boot file's name fits its field");
  std::copy(message.file.begin(), message.file.end(), out.begin() + kFileAt);
  put_be32(out, DhcpView::kFixed - 4, kCookie);
  for (const auto& [code, value] : message.options) {
    std::span<const uint8_t> rest = value;
    do {
      const auto part = rest.first(std::min(rest.size(), kMaxValue));
      rest = rest.subspan(part.size());
      out.push_back(code);
      out.push_back(static_cast<uint8_t>(part.size()));
      out.insert(out.end(), part.begin(), part.end());
    } while (!rest.empty());
  }
  out.push_back(option::kEnd);
  out.resize(std::max(out.size(), size));
  return out;
}

std::vector<uint8_t> encode_routes(std::span<const std::pair<IpPrefix, IpAddr>> routes) {
  std::vector<uint8_t> out;
  for (const auto& [to, via] : routes) {
    if (!to.addr.is_v4() || !via.is_v4()) continue;
    // Only the bytes of the network that its length reaches into.
    const IpAddr network = to.network().addr;
    const auto significant = wire_bytes(network).first((to.length + 7u) / 8);
    out.push_back(to.length);
    out.insert(out.end(), significant.begin(), significant.end());
    const auto hop = wire_bytes(via);
    out.insert(out.end(), hop.begin(), hop.end());
  }
  return out;
}

}  // namespace dhcp

std::optional<std::span<const uint8_t>> udp_payload(const ParsedPacket& parsed,
                                                    std::span<const uint8_t> frame) {
  if (parsed.error != ParseError::none || !parsed.key.is_ip() ||
      parsed.key.ip_proto != ip_proto::kUdp || parsed.l4_offset == 0 ||
      parsed.key.ip_frag != static_cast<uint8_t>(FragKind::none))
    return std::nullopt;
  const auto datagram = frame.first(parsed.length).subspan(parsed.l4_offset);
  const size_t length = be16_at(datagram, 4);
  if (length < kUdpHeader || length > datagram.size()) return std::nullopt;
  return datagram.first(length).subspan(kUdpHeader);
}

}  // namespace plexus
