// SPDX-License-Identifier: Apache-2.0
#include "store/topology/filter_rules.h"

#include <algorithm>
#include <map>
#include <set>

#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/match_values.h"
#include "store/topology/schema.h"
#include "store/topology/validate.h"

namespace plexus::store {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

enum : uint8_t { kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpv6 = 58, kSctp = 132 };
enum : uint16_t { kIpv4 = 0x0800, kArp = 0x0806, kIpv6 = 0x86dd };

bool is_set(const Message& m, const std::string& name) {
  const FieldDescriptor* field = m.GetDescriptor()->FindFieldByName(name);
  return field != nullptr && (field->is_repeated() ? m.GetReflection()->FieldSize(m, field) > 0
                                                   : m.GetReflection()->HasField(m, field));
}

/// The field that a condition is about: SRC_MAC inverts src_mac.
std::string field_of(v1::Rule::Condition condition) {
  std::string name = v1::Rule::Condition_Name(condition);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

bool is_inverted(const Message& m, const std::string& name) {
  const auto* rule = dynamic_cast<const v1::Rule*>(&m);
  if (rule == nullptr) return false;
  return std::any_of(rule->inverted().begin(), rule->inverted().end(), [&](int condition) {
    return field_of(static_cast<v1::Rule::Condition>(condition)) == name;
  });
}

std::string raw_of(const Message& m, const std::string& name) {
  return m.GetReflection()->GetString(m, m.GetDescriptor()->FindFieldByName(name));
}

/// The value that the condition wants; nullopt: not given, or anything but it.
std::optional<uint8_t> wanted_protocol(const Message& m) {
  if (!is_set(m, "protocol") || is_inverted(m, "protocol")) return std::nullopt;
  return protocol_of(raw_of(m, "protocol"));
}
std::optional<uint16_t> wanted_ethertype(const Message& m) {
  if (!is_set(m, "ethertype") || is_inverted(m, "ethertype")) return std::nullopt;
  return ethertype_of(raw_of(m, "ethertype"));
}

bool has_ports(uint8_t protocol) {
  return protocol == kTcp || protocol == kUdp || protocol == kSctp;
}
bool is_icmp(uint8_t protocol) {
  return protocol == kIcmp || protocol == kIcmpv6;
}

/// What lies behind the IP header is known by the protocol only: type 3 means one thing in ICMP and nothing in ICMPv6.
Result<void> check_protocol(const Message& m) {
  const auto protocol = wanted_protocol(m);
  for (const char* field : {"ports", "source_ports", "destination_ports"}) {
    if (is_set(m, field) && !(protocol && has_ports(*protocol))) {
      return field_error(
          m, field, "needs protocol tcp, udp or sctp: set it, or leave out " + std::string(field));
    }
  }
  if (is_set(m, "tcp_flags") && protocol != kTcp) {
    return field_error(m, "tcp_flags", "needs protocol tcp: set it, or leave out tcp_flags");
  }
  for (const char* field : {"icmp_type", "icmp_code"}) {
    if (is_set(m, field) && !(protocol && is_icmp(*protocol))) {
      return field_error(
          m, field, "needs protocol icmp or icmpv6: set it, or leave out " + std::string(field));
    }
  }
  return Ok{};
}

/// The IP version that a rule is about, and the field that says so.
struct Family {
  IpFamily family = IpFamily::none;
  std::string field;
};

std::string_view words_of(IpFamily family) {
  return family == IpFamily::v4 ? "IPv4" : "IPv6";
}

Result<void> check_family(const Message& m) {
  std::vector<Family> families;
  for (const char* field : {"source", "destination", "remote_prefix", "inner_source",
                            "inner_destination", "to_addresses"}) {
    if (!is_set(m, field) || is_inverted(m, field)) continue;
    if (const auto network = network_of(raw_of(m, field)))
      families.push_back({network->addr.family, field});
  }
  if (const auto protocol = wanted_protocol(m); protocol && is_icmp(*protocol)) {
    families.push_back({*protocol == kIcmp ? IpFamily::v4 : IpFamily::v6, "protocol"});
  }
  if (const auto type = wanted_ethertype(m); type == kIpv6) {
    families.push_back({IpFamily::v6, "ethertype"});
  } else if (type == kIpv4 || type == kArp) {
    families.push_back({IpFamily::v4, "ethertype"});
  }
  for (const Family& other : families) {
    const Family& first = families.front();
    if (other.family == first.family) continue;
    return field_error(m, other.field,
                       "is for " + std::string(words_of(other.family)) + ", but " + first.field +
                           " is for " + std::string(words_of(first.family)) +
                           ": no packet is both; leave out one of them");
  }
  return Ok{};
}

/// Frames that are not IP have no IP header.
Result<void> check_headers(const Message& rule) {
  const auto type = wanted_ethertype(rule);
  if (!type || *type == kIpv4 || *type == kIpv6) return Ok{};
  for (const char* field : {"protocol", "dscp", "fragment", "inner_source", "inner_destination",
                            "to_addresses", "snat_pool", "set_dscp"}) {
    if (is_set(rule, field)) {
      return field_error(rule, field,
                         "is for IP packets: leave it out, or set ethertype to ipv4 or ipv6");
    }
  }
  if (*type == kArp) return Ok{};
  for (const char* field : {"source", "destination", "source_group", "destination_group"}) {
    if (is_set(rule, field)) {
      return field_error(rule, field,
                         "is for IP and ARP: leave it out, or set ethertype to ipv4, ipv6 or arp");
    }
  }
  return Ok{};
}

Result<void> check_fragment(const v1::Rule& rule) {
  if (rule.fragment() != v1::Rule::LATER || is_inverted(rule, "fragment")) return Ok{};
  for (const char* field : {"source_ports", "destination_ports", "tcp_flags", "icmp_type",
                            "icmp_code", "inner_source", "inner_destination", "to_ports"}) {
    if (is_set(rule, field)) {
      return field_error(rule, field,
                         "later fragments have none: leave it out, or set fragment to "
                         "first or with_header");
    }
  }
  return Ok{};
}

/// What an action works with is given with it, and with no other.
Result<void> check_action(const v1::Rule& rule) {
  struct Needs {
    const char* field;
    v1::Rule::Action action;
    const char* word;
    bool required;
  };
  for (const Needs& needs : {Needs{"jump_chain", v1::Rule::JUMP, "jump", true},
                             Needs{"to_addresses", v1::Rule::DNAT, "dnat", true},
                             Needs{"to_ports", v1::Rule::DNAT, "dnat", false},
                             Needs{"snat_pool", v1::Rule::SNAT, "snat", true},
                             Needs{"set_dscp", v1::Rule::MARK, "mark", true},
                             Needs{"redirect_port", v1::Rule::REDIRECT, "redirect", true}}) {
    const bool with = rule.action() == needs.action, set = is_set(rule, needs.field);
    if (with && !set && needs.required)
      return field_error(rule, needs.field, std::string("is required with action ") + needs.word);
    if (!with && set)
      return field_error(
          rule, needs.field,
          std::string("is for action ") + needs.word + ": leave it out, or set the action");
  }
  const auto to = network_of(rule.to_addresses());
  if (to && (to->addr.is_multicast() || to->length == 0))
    return field_error(rule, "to_addresses", to->str() + " is no machine, and no network of some");
  return Ok{};
}

/// A port alone takes all that come; of a range each port goes to its own.
Result<void> check_to_ports(const v1::Rule& rule) {
  const auto to = port_range_of(rule.to_ports());
  if (!rule.has_to_ports() || !to) return Ok{};
  const auto protocol = wanted_protocol(rule);
  if (!protocol || !has_ports(*protocol))
    return field_error(rule, "to_ports",
                       "needs protocol tcp, udp or sctp: set it, or leave out to_ports");
  if (to->first == 0) return field_error(rule, "to_ports", "there is no port 0");
  if (to->first == to->last) return Ok{};
  const auto from = rule.destination_ports_size() == 1 && !is_inverted(rule, "destination_ports")
                        ? port_range_of(rule.destination_ports(0))
                        : std::nullopt;
  if (!from || from->last - from->first != to->last - to->first)
    return field_error(rule, "to_ports",
                       "is a range: give one range of as many ports in destination_ports, or one "
                       "port here");
  return Ok{};
}

}  // namespace

Result<void> check_rule(const v1::Rule& rule) {
  if (auto ok = check_action(rule); !ok.ok()) return ok;
  for (const int condition : rule.inverted()) {
    const std::string field = field_of(static_cast<v1::Rule::Condition>(condition));
    if (!is_set(rule, field)) {
      return field_error(rule, "inverted",
                         field + " is not given: set it, or take it out of the list");
    }
  }
  if (auto ok = check_headers(rule); !ok.ok()) return ok;
  if (auto ok = check_fragment(rule); !ok.ok()) return ok;
  if (auto ok = check_protocol(rule); !ok.ok()) return ok;
  if (auto ok = check_to_ports(rule); !ok.ok()) return ok;
  return check_family(rule);
}

Result<void> check_trace_request(const v1::TraceRequest& request) {
  if (auto ok = check_headers(request); !ok.ok()) return ok;
  if (auto ok = check_protocol(request); !ok.ok()) return ok;
  return check_family(request);
}

Result<void> check_security_rule(const v1::SecurityRule& rule) {
  if (const auto type = wanted_ethertype(rule); type && *type != kIpv4 && *type != kIpv6) {
    return field_error(rule, "ethertype",
                       "a security group is about IP: set it to ipv4 or ipv6, or leave it out");
  }
  if (rule.has_icmp_code() && !rule.has_icmp_type()) {
    return field_error(rule, "icmp_code", "needs icmp_type");
  }
  if (auto ok = check_protocol(rule); !ok.ok()) return ok;
  return check_family(rule);
}

Result<void> check_port_filters(const v1::Port& port) {
  if (!port.has_bridge()) {
    for (const char* field : {"security_groups", "port_security", "allowed_pairs"}) {
      if (is_set(port, field)) return field_error(port, field, "is for bridge ports");
    }
    return Ok{};
  }
  if (port.security_groups_size() > 0 && port.addresses_size() > kMaxMemberAddresses) {
    return field_error(port, "addresses",
                       "a port in security groups has at most " +
                           std::to_string(kMaxMemberAddresses) +
                           ": give whole networks in allowed_pairs");
  }
  for (const std::string& raw : port.allowed_pairs()) {
    const auto pair = address_pair_of(raw);
    if (!pair) continue;  // its format says so
    if (pair->network.addr.is_multicast()) {
      return field_error(port, "allowed_pairs",
                         pair->network.str() + " is no network that anybody sends from");
    }
    if (pair->mac && (pair->mac->is_zero() || pair->mac->is_multicast())) {
      return field_error(port, "allowed_pairs",
                         pair->mac->str() +
                             ": want the address of one interface, not zero, not a "
                             "group's");
    }
  }
  return Ok{};
}

namespace {

constexpr size_t kMaxChainsAhead = 256;   // that one jump can lead to
constexpr size_t kMaxChainsBehind = 200;  // that are looked at

std::string rules_index(const Uuid& chain) {
  return index_path("chain", chain, "rule.chain");
}

std::set<Uuid> chains_in(const std::vector<v1::RefEntry>& entries) {
  std::set<Uuid> chains;
  for (const auto& entry : entries) {
    if (const auto chain = Uuid::from_bytes(entry.chain())) chains.insert(*chain);
  }
  return chains;
}

/// Walks along jumps, from bucket to bucket: the rules themselves are not read.
class Jumps {
 public:
  Jumps(Transaction& transaction, const v1::Rule& rule)
      : transaction_(transaction),
        rule_(rule),
        origin_(Uuid::from_bytes(rule.chain()).value_or(Uuid{})) {}

  Result<void> check() {
    auto ahead = height(Uuid::from_bytes(rule_.jump_chain()).value_or(Uuid{}), 1);
    if (!ahead.ok()) return ahead.error();
    auto behind = jumps_behind(kMaxJumps - *ahead);
    if (!behind.ok()) return behind.error();
    if (*behind + *ahead > kMaxJumps) return too_deep();
    return Ok{};
  }

 private:
  Error too_deep() const {
    return field_error(rule_, "jump_chain",
                       "more than " + std::to_string(kMaxJumps) +
                           " jumps would follow each other: put rules of the last chains together");
  }

  /// The most jumps from the origin on by way of `chain`; it is the `jumps`-th on the way.
  Result<int> height(const Uuid& chain, int jumps) {
    if (chain == origin_) {
      return field_error(rule_, "jump_chain",
                         "it leads back to the rule's own chain: a packet would never come out");
    }
    if (jumps > kMaxJumps) return too_deep();
    if (const auto known = heights_.find(chain); known != heights_.end()) {
      return jumps + known->second > kMaxJumps ? Result<int>(too_deep()) : jumps + known->second;
    }
    if (heights_.size() >= kMaxChainsAhead) {
      return field_error(
          rule_, "jump_chain",
          "it leads to more than " + std::to_string(kMaxChainsAhead) + " chains: jump to fewer");
    }
    // An empty chain must not get a rule that jumps to us meanwhile.
    if (auto made = index_make(transaction_, rules_index(chain)); !made.ok()) return made.error();
    auto rules = index_facts(transaction_, rules_index(chain));
    if (!rules.ok()) return rules.error();
    int highest = jumps;
    for (const Uuid& next : chains_in(*rules)) {
      auto further = height(next, jumps + 1);
      if (!further.ok()) return further;
      highest = std::max(highest, *further);
    }
    heights_[chain] = highest - jumps;
    return highest;
  }

  /// The most jumps that lead to the origin; looks no further than `enough` + 1.
  Result<int> jumps_behind(int enough) {
    std::set<Uuid> level = {origin_};
    size_t seen = 0;
    for (int jumps = 0;; ++jumps) {
      if (level.empty()) return jumps - 1;
      seen += level.size();
      if (jumps > enough || seen > kMaxChainsBehind) return jumps;
      std::set<Uuid> before;
      for (const Uuid& chain : level) {
        const std::string index = index_path("chain", chain, "rule.jump_chain");
        auto rules = index_facts(transaction_, index);
        if (!rules.ok()) return rules.error();
        // Whoever jumps here first at this very moment may make it one jump too many: the simulator counts, too.
        if (rules->empty()) transaction_.trust_absence(index_head_path(index));
        before.merge(chains_in(*rules));
      }
      level = std::move(before);
    }
  }

  Transaction& transaction_;
  const v1::Rule& rule_;
  const Uuid origin_;
  std::map<Uuid, int> heights_;
};

}  // namespace

Result<void> check_jumps(Transaction& transaction, const v1::Rule& rule) {
  return Jumps(transaction, rule).check();
}

}  // namespace plexus::store
