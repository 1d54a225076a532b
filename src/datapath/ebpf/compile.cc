// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/compile.h"

#include <algorithm>

#include "datapath/check_flow.h"

namespace plexus::datapath {
namespace {

// The kernel's key is FlowKey, byte for byte.
static_assert(sizeof(plexus_key) == sizeof(FlowKey));
#define PLEXUS_SAME_PLACE(field)                                           \
  static_assert(offsetof(plexus_key, field) == offsetof(FlowKey, field) && \
                sizeof(plexus_key::field) == sizeof(FlowKey::field))
PLEXUS_SAME_PLACE(in_port);
PLEXUS_SAME_PLACE(tunnel_key);
PLEXUS_SAME_PLACE(eth_dst);
PLEXUS_SAME_PLACE(eth_src);
PLEXUS_SAME_PLACE(eth_type);
PLEXUS_SAME_PLACE(vlan_tci);
PLEXUS_SAME_PLACE(ip_proto);
PLEXUS_SAME_PLACE(ip_tos);
PLEXUS_SAME_PLACE(ip_ttl);
PLEXUS_SAME_PLACE(ip_frag);
PLEXUS_SAME_PLACE(tp_src);
PLEXUS_SAME_PLACE(tp_dst);
PLEXUS_SAME_PLACE(tcp_flags);
PLEXUS_SAME_PLACE(ct_state);
PLEXUS_SAME_PLACE(reserved);
PLEXUS_SAME_PLACE(zone);
PLEXUS_SAME_PLACE(nw);
#undef PLEXUS_SAME_PLACE
static_assert(PLEXUS_KEY_BYTES_SHORT == kFlowKeyBytesV4);
static_assert(PLEXUS_TUNNEL_PORT == kTunnelPort.number);
static_assert(PLEXUS_FRAG_FIRST == static_cast<int>(FragKind::first) &&
              PLEXUS_FRAG_LATER == static_cast<int>(FragKind::later));
static_assert(PLEXUS_C_truncated_ethernet == static_cast<int>(ParseError::truncated_ethernet) &&
              PLEXUS_C_bad_ipv6_extension == static_cast<int>(ParseError::bad_ipv6_extension) &&
              PLEXUS_C_bad_l4 == static_cast<int>(ParseError::bad_l4));

Result<void> compile_address(const IpAddr& address, uint16_t v4_field, uint16_t v6_field,
                             uint8_t (&out)[16], uint16_t& fields) {
  if (address.is_none()) return Error{ErrorCode::invalid, "a rewrite to no address"};
  fields = static_cast<uint16_t>(fields | (address.is_v4() ? v4_field : v6_field));
  std::copy(address.bytes.begin(), address.bytes.end(), out);
  return {};
}

void copy_be16(uint16_t host, __be16& out) {
  const Be16 wire(host);
  std::memcpy(&out, wire.bytes.data(), 2);
}

uint16_t host_be16(const __be16& in) {
  Be16 wire;
  std::memcpy(wire.bytes.data(), &in, 2);
  return wire.host();
}

Result<plexus_rewrite> compile(const Rewrite& rewrite) {
  plexus_rewrite out{};
  uint16_t fields = 0;
  const auto set = [&](unsigned bit) { fields = static_cast<uint16_t>(fields | bit); };
  if (rewrite.eth_src) {
    set(PLEXUS_SET_ETH_SRC);
    std::copy(rewrite.eth_src->bytes.begin(), rewrite.eth_src->bytes.end(), out.eth_src);
  }
  if (rewrite.eth_dst) {
    set(PLEXUS_SET_ETH_DST);
    std::copy(rewrite.eth_dst->bytes.begin(), rewrite.eth_dst->bytes.end(), out.eth_dst);
  }
  if (rewrite.ip_src) {
    if (auto r = compile_address(*rewrite.ip_src, PLEXUS_SET_IP4_SRC, PLEXUS_SET_IP6_SRC,
                                 out.ip_src, fields);
        !r)
      return r.error();
  }
  if (rewrite.ip_dst) {
    if (auto r = compile_address(*rewrite.ip_dst, PLEXUS_SET_IP4_DST, PLEXUS_SET_IP6_DST,
                                 out.ip_dst, fields);
        !r)
      return r.error();
  }
  if (rewrite.tp_src) {
    set(PLEXUS_SET_TP_SRC);
    copy_be16(*rewrite.tp_src, out.tp_src);
  }
  if (rewrite.tp_dst) {
    set(PLEXUS_SET_TP_DST);
    copy_be16(*rewrite.tp_dst, out.tp_dst);
  }
  if (rewrite.dscp) {
    if (*rewrite.dscp > 63) return Error{ErrorCode::invalid, "a DSCP has 6 bits"};
    set(PLEXUS_SET_DSCP);
    out.dscp = *rewrite.dscp;
  }
  if (rewrite.ttl_decrement != 0) {
    set(PLEXUS_DEC_TTL);
    out.ttl_decrement = rewrite.ttl_decrement;
  }
  if (rewrite.pop_vlan) set(PLEXUS_POP_VLAN);
  if (rewrite.push_vlan) {
    set(PLEXUS_PUSH_VLAN);
    out.vlan_tci = *rewrite.push_vlan;
  }
  out.fields = fields;
  return out;
}

Result<plexus_output> compile(const Output& output) {
  plexus_output out{};
  if (const auto* local = std::get_if<LocalOutput>(&output)) {
    if (local->port.number < kFirstLocalPort)
      return Error{ErrorCode::invalid,
                   "no local port has number " + std::to_string(local->port.number)};
    out.port = local->port.number;
    return out;
  }
  const auto& tunnel = std::get<TunnelOutput>(output);
  if (tunnel.remote.is_none()) return Error{ErrorCode::invalid, "a tunnel to no address"};
  if (tunnel.key > 0xffffff) return Error{ErrorCode::invalid, "a tunnel key has 24 bits"};
  out.port = PLEXUS_TUNNEL_PORT;
  out.tunnel_key = tunnel.key;
  to_kernel(tunnel.remote, out.remote);
  return out;
}

Rewrite decompile(const plexus_rewrite& in) {
  Rewrite out;
  const auto has = [&](unsigned bit) { return (in.fields & bit) != 0; };
  const auto mac = [](const uint8_t* from) {
    MacAddr m;
    std::copy_n(from, 6, m.bytes.begin());
    return m;
  };
  const auto address = [](const uint8_t(&from)[16], bool v4) {
    IpAddr a;
    a.family = v4 ? IpFamily::v4 : IpFamily::v6;
    std::copy_n(from, 16, a.bytes.begin());
    return a;
  };
  if (has(PLEXUS_SET_ETH_SRC)) out.eth_src = mac(in.eth_src);
  if (has(PLEXUS_SET_ETH_DST)) out.eth_dst = mac(in.eth_dst);
  if (has(PLEXUS_SET_IP4_SRC | PLEXUS_SET_IP6_SRC))
    out.ip_src = address(in.ip_src, has(PLEXUS_SET_IP4_SRC));
  if (has(PLEXUS_SET_IP4_DST | PLEXUS_SET_IP6_DST))
    out.ip_dst = address(in.ip_dst, has(PLEXUS_SET_IP4_DST));
  if (has(PLEXUS_SET_TP_SRC)) out.tp_src = host_be16(in.tp_src);
  if (has(PLEXUS_SET_TP_DST)) out.tp_dst = host_be16(in.tp_dst);
  if (has(PLEXUS_SET_DSCP)) out.dscp = in.dscp;
  if (has(PLEXUS_DEC_TTL)) out.ttl_decrement = in.ttl_decrement;
  out.pop_vlan = has(PLEXUS_POP_VLAN);
  if (has(PLEXUS_PUSH_VLAN)) out.push_vlan = in.vlan_tci;
  return out;
}

/// Whether a packet whose byte pair at `at` is `value` can match.
bool can_be_type(const Match& match, uint16_t type) {
  const Be16 want(type);
  for (size_t i = 0; i < 2; ++i)
    if (((want.bytes[i] ^ match.key.eth_type.bytes[i]) & match.mask.eth_type.bytes[i]) != 0)
      return false;
  return true;
}

}  // namespace

plexus_key to_kernel(const FlowKey& key) {
  plexus_key out;
  std::memcpy(&out, &key, sizeof out);
  return out;
}

FlowKey from_kernel(const plexus_key& key) {
  FlowKey out;
  std::copy_n(reinterpret_cast<const uint8_t*>(&key), sizeof key, out.bytes().begin());
  return out;
}

void to_kernel(const IpAddr& address, uint8_t (&out)[16]) {
  std::fill(std::begin(out), std::end(out), uint8_t{0});
  if (address.is_v4()) {
    out[10] = out[11] = 0xff;
    std::copy_n(address.bytes.begin(), 4, out + 12);
  } else {
    std::copy(address.bytes.begin(), address.bytes.end(), out);
  }
}

IpAddr address_from_kernel(const uint8_t (&in)[16]) {
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  IpAddr out;
  if (std::equal(std::begin(kMapped), std::end(kMapped), in)) {
    out.family = IpFamily::v4;
    std::copy_n(in + 12, 4, out.bytes.begin());
  } else {
    out.family = IpFamily::v6;
    std::copy_n(in, 16, out.bytes.begin());
  }
  return out;
}

Result<CompiledFlow> compile(const Actions& actions) {
  CompiledFlow out;
  out.mtu = actions.mtu;
  out.storm_limit = actions.storm_limit;
  if (actions.one_tag) out.flags = PLEXUS_FLOW_TAKES_TAG;
  if (actions.drops()) return out;
  if (auto valid = check_actions(actions); !valid) return valid.error();
  if (const NeighbourAnswer* answer = actions.answer()) {
    out.flags |= PLEXUS_FLOW_ANSWERS | (answer->router ? PLEXUS_FLOW_ANSWERS_AS_ROUTER : 0);
    Rewrite by;
    by.eth_src = answer->mac;
    by.ip_dst = answer->target;
    auto rewrite = compile(by);
    if (!rewrite) return rewrite.error();
    out.groups[0].rewrite = *rewrite;
    return out;
  }
  if (actions.copies.size() > PLEXUS_MAX_OUTPUTS)
    return Error{ErrorCode::unsupported,
                 "more than " + std::to_string(PLEXUS_MAX_OUTPUTS) + " copies"};
  std::vector<const Rewrite*> rewrites;
  for (const Copy& copy : actions.copies)
    if (std::none_of(rewrites.begin(), rewrites.end(),
                     [&](const Rewrite* r) { return *r == copy.rewrite; }))
      rewrites.push_back(&copy.rewrite);
  if (rewrites.size() > PLEXUS_MAX_GROUPS)
    return Error{ErrorCode::unsupported,
                 "copies with more than " + std::to_string(PLEXUS_MAX_GROUPS) + " rewrites"};
  // A tag that has been taken off cannot be put back. And what is not rewritten comes first, with nothing to undo.
  std::stable_partition(rewrites.begin(), rewrites.end(),
                        [](const Rewrite* r) { return !r->pop_vlan; });
  std::stable_partition(rewrites.begin(), rewrites.end(),
                        [](const Rewrite* r) { return r->empty(); });
  if (rewrites.back()->pop_vlan) out.flags = PLEXUS_FLOW_TAKES_TAG;
  out.group_count = rewrites.size();
  out.outputs.reserve(actions.copies.size());
  for (size_t g = 0; g < rewrites.size(); ++g) {
    auto rewrite = compile(*rewrites[g]);
    if (!rewrite) return rewrite.error();
    out.groups[g].rewrite = *rewrite;
    for (const Copy& copy : actions.copies) {
      if (copy.rewrite != *rewrites[g]) continue;
      auto output = compile(copy.output);
      if (!output) return output.error();
      out.outputs.push_back(*output);
      ++out.groups[g].outputs;
    }
  }
  return out;
}

Result<CompiledFlow> compile(const Flow& flow) {
  if (auto valid = check_flow(flow); !valid) return valid.error();
  auto out = compile(flow.actions);
  if (!out) return out;
  const Match& match = flow.match;
  out->ipv6_key = can_be_type(match, eth_type::kIpv6);
  // What is not IPv6 has zeroes where the rest of an IPv6 address would be.
  const bool only_ipv6 = out->ipv6_key && match.mask.eth_type == Be16(0xffff);
  const auto tail = match.key.bytes().subspan(kFlowKeyBytesV4);
  out->short_key =
      !only_ipv6 && std::all_of(tail.begin(), tail.end(), [](uint8_t b) { return b == 0; });
  return out;
}

void decompile(const plexus_flow& entry, std::span<const plexus_output> outputs, Actions& out) {
  // Only the first of several entries has them.
  out.mtu = std::max(out.mtu, entry.mtu);
  out.storm_limit = std::max(out.storm_limit, entry.storm_limit);
  const Rewrite common = decompile(entry.rewrite);
  if ((entry.flags & PLEXUS_FLOW_ANSWERS) != 0 && common.eth_src && common.ip_dst) {
    const bool router = (entry.flags & PLEXUS_FLOW_ANSWERS_AS_ROUTER) != 0;
    out.copies.push_back({{}, NeighbourAnswer{*common.eth_src, *common.ip_dst, router}});
    return;
  }
  for (const plexus_output& output : outputs) {
    if (output.port == PLEXUS_TUNNEL_PORT)
      out.copies.push_back(
          {common, TunnelOutput{address_from_kernel(output.remote), output.tunnel_key}});
    else
      out.copies.push_back({common, LocalOutput{DpPort{output.port}}});
  }
  // Of copies that take a tag off it goes without saying.
  out.one_tag = (out.one_tag || (entry.flags & PLEXUS_FLOW_TAKES_TAG) != 0) &&
                std::none_of(out.copies.begin(), out.copies.end(),
                             [](const Copy& copy) { return copy.rewrite.pop_vlan; });
}

}  // namespace plexus::datapath
