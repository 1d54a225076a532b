// SPDX-License-Identifier: Apache-2.0
#include "flow/seeded_hash.h"

#include <cstring>

namespace plexus {
namespace {

uint64_t word_at(const uint8_t* bytes) {
  uint64_t w = 0;
  std::memcpy(&w, bytes, sizeof w);
  return w;
}

uint64_t word_of(const MacAddr& mac) {
  return tag_sub(mac);
}

template <typename T>
uint64_t word_of(const std::optional<T>& number) {
  return number ? uint64_t{*number} + 1 : 0;
}
uint64_t word_of(const std::optional<MacAddr>& mac) {
  return mac ? tag_sub(*mac) + 1 : 0;
}

void add(SeededHash& h, const IpAddr& a) {
  h.add(word_at(a.bytes.data()), word_at(a.bytes.data() + 8));
  h.add(static_cast<uint64_t>(a.family));
}
void add(SeededHash& h, const std::optional<IpAddr>& a) {
  h.add(a.has_value());
  if (a) add(h, *a);
}

void add(SeededHash& h, const Tag& tag) {
  h.add(word_at(tag.id.bytes.data()), word_at(tag.id.bytes.data() + 8));
  h.add(static_cast<uint64_t>(tag.kind), tag.sub);
}

void add(SeededHash& h, const Rewrite& r) {
  h.add(word_of(r.eth_src), word_of(r.eth_dst));
  add(h, r.ip_src);
  add(h, r.ip_dst);
  h.add(word_of(r.tp_src) << 32 | word_of(r.tp_dst), word_of(r.dscp) << 32 | r.ttl_decrement);
  h.add(r.pop_vlan, word_of(r.push_vlan));
}

void add(SeededHash& h, const Output& output) {
  h.add(output.index());
  if (const auto* local = std::get_if<LocalOutput>(&output)) {
    h.add(local->port.number);
  } else if (const auto* tunnel = std::get_if<TunnelOutput>(&output)) {
    add(h, tunnel->remote);
    h.add(tunnel->key);
  } else if (const auto* answer = std::get_if<NeighbourAnswer>(&output)) {
    h.add(word_of(answer->mac), answer->router);
    add(h, answer->target);
  }
}

}  // namespace

uint64_t hash_of(const FlowKey& key, uint64_t other, uint64_t seed) {
  static_assert(sizeof key == 9 * 8);
  const uint8_t* bytes = key.bytes().data();
  SeededHash h(seed);
  for (size_t i = 0; i < 64; i += 16) h.add(word_at(bytes + i), word_at(bytes + i + 8));
  h.add(word_at(bytes + 64), other);
  return h.value();
}

uint64_t hash_of(const Tag& tag, uint64_t seed) {
  SeededHash h(seed);
  add(h, tag);
  return h.value();
}

uint64_t hash_of(std::span<const Dependency> dependencies, uint64_t seed) {
  SeededHash h(seed);
  for (const Dependency& d : dependencies) {
    add(h, d.tag);
    h.add(d.rewritten);
  }
  return h.value();
}

uint64_t hash_of(const Actions& actions, uint64_t seed) {
  SeededHash h(seed);
  h.add(actions.mtu, actions.copies.size());
  h.add(actions.storm_limit, 0);
  for (const Copy& copy : actions.copies) {
    add(h, copy.rewrite);
    add(h, copy.output);
  }
  return h.value();
}

}  // namespace plexus
