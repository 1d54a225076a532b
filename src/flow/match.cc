// SPDX-License-Identifier: Apache-2.0
#include "flow/match.h"

#include <array>
#include <cstring>

namespace plexus {
namespace {

// Keys are combined word by word; their layout has no holes (flow_key.h).
using Words = std::array<uint64_t, sizeof(FlowKey) / sizeof(uint64_t)>;
static_assert(sizeof(Words) == sizeof(FlowKey));

Words words_of(const FlowKey& key) {
  Words w;
  std::memcpy(w.data(), key.bytes().data(), sizeof w);
  return w;
}

FlowKey key_of(const Words& w) {
  FlowKey key;
  std::memcpy(key.bytes().data(), w.data(), sizeof w);
  return key;
}

}  // namespace

bool Match::covers(const FlowKey& k) const {
  const Words a = words_of(key), b = words_of(k), m = words_of(mask);
  uint64_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= (a[i] ^ b[i]) & m[i];
  return difference == 0;
}

bool Match::meets(const Match& other) const {
  const Words a = words_of(key), b = words_of(other.key);
  const Words m = words_of(mask), n = words_of(other.mask);
  uint64_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= (a[i] ^ b[i]) & m[i] & n[i];
  return difference == 0;
}

Match match_of(const FlowKey& packet, const FlowKey& mask) {
  return {packet & mask, mask};
}

FlowKey operator&(const FlowKey& a, const FlowKey& b) {
  Words x = words_of(a);
  const Words y = words_of(b);
  for (size_t i = 0; i < x.size(); ++i) x[i] &= y[i];
  return key_of(x);
}

FlowKey operator|(const FlowKey& a, const FlowKey& b) {
  Words x = words_of(a);
  const Words y = words_of(b);
  for (size_t i = 0; i < x.size(); ++i) x[i] |= y[i];
  return key_of(x);
}

}  // namespace plexus
