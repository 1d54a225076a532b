// SPDX-License-Identifier: Apache-2.0
#include "model/maglev.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/check.h"

namespace plexus::model {
namespace {

constexpr uint64_t kOffsetSeed = 0x706c6578'75730001, kSkipSeed = 0x706c6578'75730002,
                   kFlowSeed = 0x706c6578'75730003;
static_assert(kMaxMaglevMembers <= 256, "a place of a small table holds one byte");
static_assert(kMaxLargeMaglevMembers <= 65536, "a place of a large one holds two");

uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

uint64_t word_at(std::span<const uint8_t> bytes, size_t at) {
  uint64_t w = 0;
  for (size_t i = 0; i < 8; ++i) w = w << 8 | bytes[at + i];
  return w;
}

std::array<uint64_t, 2> words_of(const Uuid& id) {
  return {word_at(id.bytes, 0), word_at(id.bytes, 8)};
}

/// How many places each gets: one, and of the others its share by weight.
std::vector<uint32_t> quotas_of(std::span<const MaglevMember> members,
                                std::span<const size_t> order, uint32_t places) {
  uint64_t total = 0;
  for (const MaglevMember& m : members) total += std::max(1u, m.weight);
  std::vector<uint32_t> quotas(members.size());
  std::vector<uint64_t> remainders(members.size());
  uint32_t given = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    const uint64_t share = uint64_t{std::max(1u, members[i].weight)} * places;
    quotas[i] = static_cast<uint32_t>(share / total);
    remainders[i] = share % total;
    given += quotas[i];
  }
  // What rounding down has left over.
  std::vector<size_t> by_remainder(order.begin(), order.end());
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  for (size_t i = 0; given < places; ++i, ++given) ++quotas[by_remainder[i]];
  // Nobody goes without: the richest gives.
  for (size_t i : order) {
    if (quotas[i] > 0) continue;
    const auto richest = std::max_element(
        order.begin(), order.end(), [&](size_t a, size_t b) { return quotas[a] < quotas[b]; });
    --quotas[*richest];
    ++quotas[i];
  }
  return quotas;
}

}  // namespace

uint64_t fixed_hash(uint64_t seed, std::span<const uint64_t> words) {
  uint64_t h = seed;
  for (uint64_t w : words) h = mixed(h ^ w);
  return h;
}

MaglevTable::MaglevTable(std::span<const MaglevMember> members) {
  PLEXUS_CHECK(!members.empty() && members.size() <= kMaxLargeMaglevMembers, "1 to 4,096 members");
  if (members.size() <= kMaxMaglevMembers)
    small_.resize(kMaglevSize);
  else
    large_.resize(kLargeMaglevSize);
  const uint32_t size = places();
  // By key, so that the order in which they were given does not matter.
  std::vector<size_t> order(members.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return members[a].key < members[b].key; });

  struct Walk {
    uint32_t at = 0, skip = 1;
    uint64_t credit = 0;
  };
  std::vector<Walk> walks(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    const auto key = words_of(members[i].key);
    walks[i].at = static_cast<uint32_t>(fixed_hash(kOffsetSeed, key) % size);
    walks[i].skip = static_cast<uint32_t>(fixed_hash(kSkipSeed, key) % (size - 1)) + 1;
  }
  std::vector<uint32_t> left = quotas_of(members, order, size);
  std::vector<bool> taken(size);
  for (uint32_t filled = 0; filled < size;) {
    uint32_t heaviest = 1;
    for (size_t i : order)
      if (left[i] > 0) heaviest = std::max(heaviest, members[i].weight);
    for (size_t i : order) {
      Walk& walk = walks[i];
      // Of those that do not have their quota yet, the heaviest takes a place in each round, the others as often as
      // their weight allows.
      if (left[i] == 0) continue;
      walk.credit += std::max(1u, members[i].weight);
      if (walk.credit < heaviest) continue;
      walk.credit -= heaviest;
      while (taken[walk.at]) walk.at = (walk.at + walk.skip) % size;
      taken[walk.at] = true;
      if (large_.empty())
        small_[walk.at] = static_cast<uint8_t>(i);
      else
        large_[walk.at] = static_cast<uint16_t>(i);
      --left[i];
      ++filled;
    }
  }
}

uint64_t flow_hash(const Uuid& salt, const FlowIdentity& flow) {
  const auto s = words_of(salt);
  const std::array<uint64_t, 7> words{
      s[0],
      s[1],
      word_at(flow.src.bytes, 0),
      word_at(flow.src.bytes, 8),
      word_at(flow.dst.bytes, 0),
      word_at(flow.dst.bytes, 8),
      uint64_t{flow.protocol} << 32 | uint64_t{flow.src_port} << 16 | flow.dst_port};
  return fixed_hash(kFlowSeed, words);
}

uint64_t next_hash(uint64_t hash) {
  return mixed(hash);
}

}  // namespace plexus::model
