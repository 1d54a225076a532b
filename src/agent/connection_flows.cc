// SPDX-License-Identifier: Apache-2.0
#include "agent/connection_flows.h"

#include <algorithm>

#include "flow/seeded_hash.h"

namespace plexus::agent {
namespace {

state::Tuple either_way(const state::Tuple& tuple) {
  return std::min(tuple, tuple.reversed());
}

}  // namespace

std::optional<state::Tuple> tuple_of(const Match& match) {
  const FlowKey &key = match.key, &mask = match.mask;
  if (!key.is_ip() || mask.eth_type.host() != 0xffff || mask.ip_proto != 0xff) return std::nullopt;
  const size_t addresses = key.is_ipv4() ? 8 : 32;
  for (size_t i = 0; i < addresses; ++i)
    if (mask.nw[i] != 0xff) return std::nullopt;
  state::Tuple tuple{key.src_ip(), key.dst_ip(), 0, 0, key.ip_proto, state::EchoRole::none};
  if (state::has_ports(key.ip_proto)) {
    if (mask.tp_src.host() != 0xffff || mask.tp_dst.host() != 0xffff) return std::nullopt;
    tuple.src_port = key.tp_src.host();
    tuple.dst_port = key.tp_dst.host();
  }
  return tuple;
}

size_t ConnectionFlows::HashOfTuple::operator()(const state::Tuple& tuple) const {
  SeededHash h(seed);
  for (const IpAddr& address : {tuple.src, tuple.dst}) {
    uint64_t words[2];
    std::memcpy(words, address.bytes.data(), sizeof words);
    h.add(words[0]);
    h.add(words[1]);
  }
  h.add(uint64_t{tuple.src_port} << 32 | uint64_t{tuple.dst_port} << 16 | tuple.protocol);
  return h.value();
}

void ConnectionFlows::add(const Match& match) {
  const auto tuple = tuple_of(match);
  if (!tuple) return;
  auto& list = flows_[either_way(*tuple)];
  if (std::find(list.begin(), list.end(), match) == list.end()) list.push_back(match);
}

void ConnectionFlows::remove(const Match& match) {
  const auto tuple = tuple_of(match);
  if (!tuple) return;
  const auto at = flows_.find(either_way(*tuple));
  if (at == flows_.end()) return;
  std::erase(at->second, match);
  if (at->second.empty()) flows_.erase(at);
}

std::vector<Match> ConnectionFlows::of(const state::Tuple& tuple) const {
  const auto at = flows_.find(either_way(tuple));
  return at == flows_.end() ? std::vector<Match>() : at->second;
}

}  // namespace plexus::agent
