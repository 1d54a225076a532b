// SPDX-License-Identifier: Apache-2.0
#include "packet/dhcp6.h"

#include "base/check.h"
#include "packet/build.h"

namespace plexus {
namespace {

constexpr size_t kOptionHeader = 4, kAssociation = 12, kLease = 24;
constexpr size_t kMaxLabel = 63, kMaxDomain = 255;

/// Calls visit(code, value) for each option; false when they do not end where the bytes do.
template <typename Visit>
bool walk(std::span<const uint8_t> options, Visit visit) {
  while (!options.empty()) {
    if (options.size() < kOptionHeader) return false;
    const uint16_t code = be16_at(options, 0);
    const size_t size = be16_at(options, 2);
    if (size > options.size() - kOptionHeader) return false;
    visit(code, options.subspan(kOptionHeader, size));
    options = options.subspan(kOptionHeader + size);
  }
  return true;
}

void append_be16(std::vector<uint8_t>& out, uint16_t v) {
  out.resize(out.size() + 2);
  put_be16(out, out.size() - 2, v);
}

void append_be32(std::vector<uint8_t>& out, uint32_t v) {
  out.resize(out.size() + 4);
  put_be32(out, out.size() - 4, v);
}

void append_option(std::vector<uint8_t>& out, uint16_t code, std::span<const uint8_t> value) {
  PLEXUS_CHECK(value.size() <= 0xffff, "an option has at most 65,535 bytes");
  append_be16(out, code);
  append_be16(out, static_cast<uint16_t>(value.size()));
  out.insert(out.end(), value.begin(), value.end());
}

}  // namespace

std::optional<Dhcp6View> Dhcp6View::of(std::span<const uint8_t> payload) {
  if (payload.size() < kFixed || payload[0] < static_cast<uint8_t>(dhcp6::Type::solicit) ||
      payload[0] > static_cast<uint8_t>(dhcp6::Type::information_request))
    return std::nullopt;
  if (!walk(payload.subspan(kFixed), [](uint16_t, std::span<const uint8_t>) {}))
    return std::nullopt;
  return Dhcp6View(payload);
}

std::optional<std::span<const uint8_t>> Dhcp6View::option(uint16_t code) const {
  std::optional<std::span<const uint8_t>> found;
  (void)walk(bytes_.subspan(kFixed), [&](uint16_t has, std::span<const uint8_t> value) {
    if (has == code && !found) found = value;
  });
  return found;
}

dhcp6::Message Dhcp6View::message() const {
  dhcp6::Message m{bytes_[0], xid(), {}};
  (void)walk(bytes_.subspan(kFixed), [&](uint16_t code, std::span<const uint8_t> value) {
    m.options.emplace_back(code, std::vector<uint8_t>(value.begin(), value.end()));
  });
  return m;
}

namespace dhcp6 {

IpAddr all_servers() {
  return IpAddr::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2});
}

std::vector<uint8_t> encode(const Message& message) {
  std::vector<uint8_t> out(Dhcp6View::kFixed);
  put_be32(out, 0, message.xid & 0xffffff);
  out[0] = message.type;
  for (const auto& [code, value] : message.options) append_option(out, code, value);
  return out;
}

std::vector<uint8_t> encode(const Association& association) {
  std::vector<uint8_t> out;
  append_be32(out, association.id);
  append_be32(out, association.t1);
  append_be32(out, association.t2);
  for (const Lease& lease : association.leases) {
    PLEXUS_CHECK(lease.address.is_v6(), "DHCPv6 speaks of IPv6 addresses");
    std::vector<uint8_t> value(lease.address.bytes.begin(), lease.address.bytes.end());
    append_be32(value, lease.preferred);
    append_be32(value, lease.valid);
    append_option(out, option::kIaAddress, value);
  }
  if (association.status)
    append_option(out, option::kStatus, encode_status(*association.status, ""));
  return out;
}

std::optional<Association> decode_association(std::span<const uint8_t> value) {
  if (value.size() < kAssociation) return std::nullopt;
  Association out{be32_at(value, 0), be32_at(value, 4), be32_at(value, 8), {}};
  bool whole = true;
  const bool walked =
      walk(value.subspan(kAssociation), [&](uint16_t code, std::span<const uint8_t> inner) {
        if (code == option::kIaAddress) {
          if (inner.size() < kLease) {
            whole = false;
            return;
          }
          out.leases.push_back({ipv6_at(inner, 0), be32_at(inner, 16), be32_at(inner, 20)});
        } else if (code == option::kStatus) {
          if (inner.size() < 2) {
            whole = false;
            return;
          }
          out.status = static_cast<Status>(be16_at(inner, 0));
        }
      });
  if (!walked || !whole) return std::nullopt;
  return out;
}

std::vector<uint8_t> encode_status(Status status, std::string_view text) {
  std::vector<uint8_t> out(2 + text.size());
  put_be16(out, 0, static_cast<uint16_t>(status));
  put_bytes(out, 2, text_bytes(text));
  return out;
}

std::optional<std::vector<uint8_t>> encode_domain(std::string_view domain) {
  std::vector<uint8_t> out;
  if (domain.ends_with('.')) domain.remove_suffix(1);
  while (true) {
    const size_t dot = domain.find('.');
    const std::string_view label = domain.substr(0, dot);
    if (label.empty() || label.size() > kMaxLabel) return std::nullopt;
    out.push_back(static_cast<uint8_t>(label.size()));
    out.insert(out.end(), label.begin(), label.end());
    if (dot == domain.npos) break;
    domain.remove_prefix(dot + 1);
  }
  out.push_back(0);
  if (out.size() > kMaxDomain) return std::nullopt;
  return out;
}

std::vector<uint8_t> duid_of(const MacAddr& mac) {
  constexpr uint16_t kByLinkLayer = 3, kEthernet = 1;
  std::vector<uint8_t> out(4 + mac.bytes.size());
  put_be16(out, 0, kByLinkLayer);
  put_be16(out, 2, kEthernet);
  put_bytes(out, 4, mac.bytes);
  return out;
}

}  // namespace dhcp6
}  // namespace plexus
