// SPDX-License-Identifier: Apache-2.0
#include "packet/text_dhcp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "packet/bytes.h"
#include "packet/dhcp.h"
#include "packet/dhcp6.h"

namespace plexus::text {
namespace {

using Bytes = std::vector<uint8_t>;

/// How an option's value is written.
enum class Kind : uint8_t {
  addresses4,
  addresses6,
  number8,
  number16,
  number32,
  words,
  codes8,
  codes16,
  routes,
  hex
};

struct Named {
  uint16_t code;
  std::string_view name;
  Kind kind;
};
constexpr Named kOptions4[] = {
    {dhcp::option::kSubnetMask, "mask", Kind::addresses4},
    {dhcp::option::kRouter, "router", Kind::addresses4},
    {dhcp::option::kNameServer, "dns", Kind::addresses4},
    {dhcp::option::kDomain, "domain", Kind::words},
    {dhcp::option::kMtu, "mtu", Kind::number16},
    {dhcp::option::kBroadcast, "broadcast-address", Kind::addresses4},
    {dhcp::option::kTimeServer, "ntp", Kind::addresses4},
    {dhcp::option::kRequestedAddress, "requested", Kind::addresses4},
    {dhcp::option::kLeaseTime, "lease", Kind::number32},
    {dhcp::option::kServerId, "server-id", Kind::addresses4},
    {dhcp::option::kParameterList, "parameters", Kind::codes8},
    {dhcp::option::kMessage, "message", Kind::words},
    {dhcp::option::kMaxMessage, "max-message", Kind::number16},
    {dhcp::option::kRenewalTime, "t1", Kind::number32},
    {dhcp::option::kRebindingTime, "t2", Kind::number32},
    {dhcp::option::kClientId, "client-id", Kind::hex},
    {dhcp::option::kClasslessRoutes, "routes", Kind::routes},
};
constexpr Named kOptions6[] = {
    {dhcp6::option::kClientId, "client-id", Kind::hex},
    {dhcp6::option::kServerId, "server-id", Kind::hex},
    {dhcp6::option::kOptionRequest, "parameters", Kind::codes16},
    {dhcp6::option::kPreference, "preference", Kind::number8},
    {dhcp6::option::kElapsed, "elapsed", Kind::number16},
    {dhcp6::option::kStatus, "status", Kind::number16},
    {dhcp6::option::kNameServers, "dns", Kind::addresses6},
    {dhcp6::option::kSimpleTimeServers, "sntp", Kind::addresses6},
    {dhcp6::option::kRefreshTime, "refresh", Kind::number32},
};

constexpr std::string_view kTypes4[] = {"discover", "offer", "request", "decline",
                                        "ack",      "nak",   "release", "inform"};
constexpr std::string_view kTypes6[] = {"solicit",
                                        "advertise",
                                        "request",
                                        "confirm",
                                        "renew",
                                        "rebind",
                                        "reply",
                                        "release",
                                        "decline",
                                        "reconfigure",
                                        "information-request"};

bool from_server(size_t type4) {
  const auto type = static_cast<dhcp::Type>(type4 + 1);
  return type == dhcp::Type::offer || type == dhcp::Type::ack || type == dhcp::Type::nak;
}

/// Index in `names`; an error and 0 otherwise.
template <size_t N>
size_t read_type(TextReader& r, const std::string_view (&names)[N]) {
  const auto word = r.word("a message type");
  const auto* at = std::find(std::begin(names), std::end(names), word);
  if (at != std::end(names)) return static_cast<size_t>(at - std::begin(names));
  std::string all;
  for (const auto name : names) all += (all.empty() ? "" : ", ") + std::string(name);
  r.fail(word, all);
  return 0;
}

Bytes number_bytes(uint64_t value, size_t size) {
  Bytes out(size);
  for (size_t i = size; i-- > 0; value >>= 8) out[i] = static_cast<uint8_t>(value);
  return out;
}

uint64_t number_of(std::span<const uint8_t> bytes) {
  uint64_t value = 0;
  for (const uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

/// Bytes of one number of the kind, of one element of the list.
size_t size_of(Kind kind) {
  switch (kind) {
    case Kind::addresses6:
      return 16;
    case Kind::addresses4:
    case Kind::number32:
      return 4;
    case Kind::number16:
    case Kind::codes16:
      return 2;
    default:
      return 1;
  }
}

/// Calls read(element) for each element of "a,b,c"; it says whether it was one.
template <typename Read>
void read_list(TextReader& r, std::string_view name, std::string_view expected, Read read) {
  const auto word = r.word(name);
  for (size_t at = 0; r.ok() && at <= word.size();) {
    const size_t comma = std::min(word.find(',', at), word.size());
    if (!read(word.substr(at, comma - at))) r.fail(word, expected);
    at = comma + 1;
  }
}

Bytes read_routes(TextReader& r, std::string_view name) {
  std::vector<std::pair<IpPrefix, IpAddr>> routes;
  read_list(r, name, "NETWORK>NEXT-HOP, with commas between", [&](std::string_view route) {
    const size_t arrow = std::min(route.find('>'), route.size());
    const auto to = IpPrefix::parse(route.substr(0, arrow));
    const auto via = IpAddr::parse(route.substr(std::min(arrow + 1, route.size())));
    if (!to || !via || !to->addr.is_v4() || !via->is_v4()) return false;
    routes.emplace_back(*to, *via);
    return true;
  });
  return dhcp::encode_routes(routes);
}

Bytes read_value(TextReader& r, const Named& option) {
  Bytes out;
  const size_t size = size_of(option.kind);
  const auto append = [&out](const Bytes& more) {
    out.insert(out.end(), more.begin(), more.end());
  };
  switch (option.kind) {
    case Kind::addresses4:
    case Kind::addresses6:
      read_list(r, option.name, "addresses, with commas between", [&](std::string_view text) {
        const auto address = IpAddr::parse(text);
        if (!address || address->size() != size) return false;
        const auto wire = wire_bytes(*address);
        append({wire.begin(), wire.end()});
        return true;
      });
      return out;
    case Kind::codes8:
    case Kind::codes16:
      read_list(r, option.name, "option codes, with commas between", [&](std::string_view text) {
        const auto code = parse_number(text, (uint64_t{1} << 8 * size) - 1);
        if (code) append(number_bytes(*code, size));
        return code.has_value();
      });
      return out;
    case Kind::number8:
    case Kind::number16:
    case Kind::number32:
      return number_bytes(r.number(option.name, (uint64_t{1} << 8 * size) - 1), size);
    case Kind::words: {
      const auto text = r.word(option.name);
      return {text.begin(), text.end()};
    }
    case Kind::routes:
      return read_routes(r, option.name);
    case Kind::hex:
      return r.hex(option.name);
  }
  return out;
}

/// "option N HEX", or "option N empty".
Bytes read_other(TextReader& r) {
  return r.accept("empty") ? Bytes() : r.hex("the option");
}

std::optional<std::string> routes_text(std::span<const uint8_t> value) {
  std::string out;
  while (!value.empty()) {
    const size_t length = value[0], significant = (length + 7) / 8;
    if (length > 32 || value.size() < 1 + significant + 4) return std::nullopt;
    IpAddr to = IpAddr::v4(0);
    std::copy_n(value.begin() + 1, significant, to.bytes.begin());
    const IpPrefix prefix{to, static_cast<uint8_t>(length)};
    if (prefix != prefix.network()) return std::nullopt;
    out += fmt::format("{}{}>{}", out.empty() ? "" : ",", prefix.str(),
                       ipv4_at(value, 1 + significant).str());
    value = value.subspan(1 + significant + 4);
  }
  return out;
}

/// The value as its kind says; none when it has not that form.
std::optional<std::string> value_text(Kind kind, std::span<const uint8_t> value) {
  const size_t size = size_of(kind);
  if (value.empty() || value.size() % size != 0) return std::nullopt;
  std::string out;
  switch (kind) {
    case Kind::number8:
    case Kind::number16:
    case Kind::number32:
      if (value.size() != size) return std::nullopt;
      return std::to_string(number_of(value));
    case Kind::addresses4:
    case Kind::addresses6:
    case Kind::codes8:
    case Kind::codes16:
      for (size_t at = 0; at < value.size(); at += size) {
        if (at > 0) out += ',';
        out += kind == Kind::addresses4   ? ipv4_at(value, at).str()
               : kind == Kind::addresses6 ? ipv6_at(value, at).str()
                                          : std::to_string(number_of(value.subspan(at, size)));
      }
      return out;
    case Kind::words:
      out = '"';
      for (const uint8_t byte : value) {
        if (byte < ' ' || byte > '~') return std::nullopt;
        if (byte == '"' || byte == '\\') out += '\\';
        out += static_cast<char>(byte);
      }
      return out + '"';
    case Kind::routes:
      return routes_text(value);
    case Kind::hex:
      return format_hex(value);
  }
  return std::nullopt;
}

template <size_t N>
std::string option_text(const Named (&names)[N], uint16_t code, std::span<const uint8_t> value) {
  const auto* named = std::find_if(std::begin(names), std::end(names),
                                   [&](const Named& n) { return n.code == code; });
  if (named != std::end(names))
    if (const auto text = value_text(named->kind, value))
      return fmt::format(" {} {}", named->name, *text);
  return fmt::format(" option {} {}", code, value.empty() ? "empty" : format_hex(value));
}

/// The option that the word names, with the value behind it; none when it names none.
template <size_t N>
std::optional<std::pair<uint16_t, Bytes>> read_named(TextReader& r, std::string_view word,
                                                     const Named (&names)[N]) {
  const auto* named = std::find_if(std::begin(names), std::end(names),
                                   [&](const Named& n) { return n.name == word; });
  if (named == std::end(names)) return std::nullopt;
  return std::pair(named->code, read_value(r, *named));
}

std::string association_text(const dhcp6::Association& ia) {
  std::string out = fmt::format(" ia {} {} {}", ia.id, ia.t1, ia.t2);
  for (const dhcp6::Lease& lease : ia.leases)
    out += fmt::format(" address {} {} {}", lease.address.str(), lease.preferred, lease.valid);
  if (ia.status) out += fmt::format(" ia-status {}", static_cast<unsigned>(*ia.status));
  return out;
}

std::optional<std::string> format4(std::span<const uint8_t> payload) {
  const auto view = DhcpView::of(payload);
  if (!view || !view->type()) return std::nullopt;
  const dhcp::Message message = view->message();
  const auto type = static_cast<size_t>(*view->type()) - 1;
  if (message.options.front().first != dhcp::option::kMessageType ||
      from_server(type) != message.reply ||
      dhcp::encode(message, payload.size()).size() > payload.size() ||
      !std::ranges::equal(dhcp::encode(message, payload.size()), payload))
    return std::nullopt;
  std::string out = fmt::format("dhcp {}", kTypes4[type]);
  if (message.xid != 0) out += fmt::format(" xid {}", message.xid);
  if (message.hops != 0) out += fmt::format(" hops {}", message.hops);
  if (message.secs != 0) out += fmt::format(" secs {}", message.secs);
  if (message.broadcast) out += " broadcast";
  const auto address = [&out](std::string_view name, const IpAddr& a) {
    if (!a.is_unspecified()) out += fmt::format(" {} {}", name, a.str());
  };
  address("client", message.client);
  address("your", message.your);
  address("server", message.server);
  address("relay", message.relay);
  if (!message.mac.is_zero()) out += fmt::format(" mac {}", message.mac.str());
  if (!message.file.empty()) {
    const auto text = value_text(
        Kind::words, {reinterpret_cast<const uint8_t*>(message.file.data()), message.file.size()});
    if (!text) return std::nullopt;
    out += " file " + *text;
  }
  for (size_t i = 1; i < message.options.size(); ++i)
    out += option_text(kOptions4, message.options[i].first, message.options[i].second);
  if (payload.size() != dhcp::encode(message).size())
    out += fmt::format(" size {}", payload.size());
  return out;
}

std::optional<std::string> format6(std::span<const uint8_t> payload) {
  const auto view = Dhcp6View::of(payload);
  if (!view) return std::nullopt;
  std::string out = fmt::format("dhcp6 {}", kTypes6[static_cast<size_t>(view->type()) - 1]);
  if (view->xid() != 0) out += fmt::format(" xid {}", view->xid());
  for (const auto& [code, value] : view->message().options) {
    if (code == dhcp6::option::kIaNa) {
      const auto ia = dhcp6::decode_association(value);
      if (ia && dhcp6::encode(*ia) == value) {
        out += association_text(*ia);
        continue;
      }
    }
    if (code == dhcp6::option::kRapidCommit && value.empty())
      out += " rapid-commit";
    else
      out += option_text(kOptions6, code, value);
  }
  return out;
}

}  // namespace

std::vector<uint8_t> read_dhcp(TextReader& r) {
  dhcp::Message m;
  const size_t type = read_type(r, kTypes4);
  m.reply = from_server(type);
  m.options.emplace_back(dhcp::option::kMessageType, Bytes{static_cast<uint8_t>(type + 1)});
  size_t size = dhcp::kMinMessage;
  while (r.more()) {
    const auto name = r.word("a field");
    if (name == "xid") {
      m.xid = static_cast<uint32_t>(r.number(name, 0xffffffff));
    } else if (name == "hops") {
      m.hops = static_cast<uint8_t>(r.number(name, 255));
    } else if (name == "secs") {
      m.secs = static_cast<uint16_t>(r.number(name, 0xffff));
    } else if (name == "broadcast") {
      m.broadcast = true;
    } else if (name == "client" || name == "your" || name == "server" || name == "relay") {
      const IpAddr address = r.ip(name, IpFamily::v4);
      if (!r.ok()) break;
      (name == "client"   ? m.client
       : name == "your"   ? m.your
       : name == "server" ? m.server
                          : m.relay) = address;
    } else if (name == "mac") {
      m.mac = r.mac(name);
    } else if (name == "file") {
      m.file = r.word(name);
      if (m.file.size() > dhcp::kMaxFile)
        r.fail_layer(fmt::format("file: expected at most {} bytes", dhcp::kMaxFile));
    } else if (name == "size") {
      size = static_cast<size_t>(r.number(name, 65507));
    } else if (name == "option") {
      const auto code = static_cast<uint8_t>(r.number(name, 254));
      if (code == dhcp::option::kPad) r.fail_layer("option 0: expected 1 to 254");
      m.options.emplace_back(code, read_other(r));
    } else if (auto option = read_named(r, name, kOptions4)) {
      m.options.emplace_back(static_cast<uint8_t>(option->first), std::move(option->second));
    } else {
      r.fail(
          name,
          "xid, hops, secs, broadcast, client, your, server, relay, mac, file, size, the name of "
          "an option, or option");
    }
  }
  return r.ok() ? dhcp::encode(m, size) : Bytes();
}

std::vector<uint8_t> read_dhcp6(TextReader& r) {
  dhcp6::Message m;
  m.type = static_cast<uint8_t>(read_type(r, kTypes6) + 1);
  std::optional<dhcp6::Association> ia;
  const auto end_association = [&] {
    if (ia) m.options.emplace_back(dhcp6::option::kIaNa, dhcp6::encode(*ia));
    ia.reset();
  };
  const auto number32 = [&r](std::string_view name) {
    return static_cast<uint32_t>(r.number(name, 0xffffffff));
  };
  while (r.more()) {
    const auto name = r.word("a field");
    if (ia && name == "address") {
      dhcp6::Lease lease{r.ip(name, IpFamily::v6), 0, 0};
      lease.preferred = number32("the preferred lifetime");
      lease.valid = number32("the valid lifetime");
      ia->leases.push_back(lease);
      if (!r.ok()) return {};
      continue;
    }
    if (ia && name == "ia-status") {
      ia->status = static_cast<dhcp6::Status>(r.number(name, 0xffff));
      continue;
    }
    end_association();
    if (name == "xid") {
      m.xid = static_cast<uint32_t>(r.number(name, 0xffffff));
    } else if (name == "ia") {
      ia.emplace();
      ia->id = number32("the identity");
      ia->t1 = number32("T1");
      ia->t2 = number32("T2");
    } else if (name == "rapid-commit") {
      m.options.emplace_back(dhcp6::option::kRapidCommit, Bytes());
    } else if (name == "option") {
      const auto code = static_cast<uint16_t>(r.number(name, 0xffff));
      m.options.emplace_back(code, read_other(r));
    } else if (auto option = read_named(r, name, kOptions6)) {
      m.options.push_back(std::move(*option));
    } else {
      r.fail(name,
             "xid, ia (then address, ia-status), rapid-commit, the name of an option, or option");
    }
  }
  end_association();
  return r.ok() ? dhcp6::encode(m) : Bytes();
}

std::optional<std::string> format_dhcp(uint16_t src_port, uint16_t dst_port,
                                       std::span<const uint8_t> payload) {
  const auto either = [&](uint16_t a, uint16_t b) {
    return dst_port == a || dst_port == b || src_port == a || src_port == b;
  };
  if (either(dhcp::kServerPort, dhcp::kClientPort)) return format4(payload);
  if (either(dhcp6::kServerPort, dhcp6::kClientPort)) return format6(payload);
  return std::nullopt;
}

}  // namespace plexus::text
