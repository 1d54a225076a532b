// SPDX-License-Identifier: Apache-2.0
#include "agent/fragment_memory.h"

#include <algorithm>
#include <unordered_map>

#include "packet/fragment.h"
#include "sim/fragments.h"

namespace plexus::agent {
namespace {

/// What a first fragment has at least, or it is no packet (truncated_l4). What begins before is no honest fragment's, and meant to
/// take the place of flags, say, that have been looked at (RFC 1858 3.2.2).
uint32_t least_header(const FlowKey& later) {
  constexpr uint32_t kMost = 20;
  // Of IPv6 only the first one's protocol counts, whatever the others say (RFC 8200 4.5). Where 1280 bytes are the least MTU no
  // honest sender cuts before.
  if (later.is_ipv6()) return kMost;
  switch (later.ip_proto) {
    case ip_proto::kTcp:
      return kMost;
    case ip_proto::kSctp:
      return 12;
    default:
      return 8;
  }
}

bool may_be_cut(const sim::Packet& packet) {
  constexpr uint8_t kDontFragment = 0x40;
  return packet.key.is_ipv4() && (packet.frame[packet.parsed.l3_offset + 6u] & kDontFragment) == 0;
}

/// Whether all the routers on these ways pass it on.
bool lives_long_enough(const Actions& way, const sim::Packet& later) {
  return std::all_of(way.copies.begin(), way.copies.end(), [&](const Copy& copy) {
    const uint8_t routers = copy.rewrite.ttl_decrement;
    return routers == 0 || later.key.ip_ttl > routers;
  });
}

}  // namespace

/// False: nothing of it is for others.
bool FragmentMemory::note_ways(const sim::Outcome& outcome, Done& done) {
  switch (outcome.verdict) {
    case sim::Verdict::drop:
      done.reason = outcome.reason;
      return true;
    case sim::Verdict::postpone:
      done.parked = true;
      return true;
    case sim::Verdict::forward:
      done.ways.push_back(outcome.actions);
      break;
    case sim::Verdict::consumed:
      break;
  }
  for (const sim::Generated& made : outcome.generated) {
    if (made.kind == sim::GeneratedKind::fragment &&
        std::find(done.ways.begin(), done.ways.end(), made.actions) == done.ways.end())
      done.ways.push_back(made.actions);
  }
  return !done.ways.empty();
}

void FragmentMemory::remember(const sim::Packet& first, const sim::Outcome& outcome, MonoTime now,
                              const Waits& waits) {
  const auto place = fragment_of(first.parsed, first.frame);
  if (!place) return;
  while (packets_.oldest() != nullptr && now >= packets_.oldest()->until)
    (void)packets_.take_oldest();
  const FragmentKey key = *FragmentKey::of(first);
  (void)packets_.take(key);
  // Those that follow one that waits may wait for the same, whatever was asked.
  if (!outcome.leads_fragments && outcome.verdict != sim::Verdict::postpone) return;
  Done done;
  if (!note_ways(outcome, done)) return;
  for (Actions& way : done.ways)
    for (Copy& copy : way.copies) copy.rewrite.tp_src.reset(), copy.rewrite.tp_dst.reset();
  done.end = place->offset + place->length;
  done.of_first = match_of(first.key, outcome.mask);
  done.mask = outcome.mask;
  done.mask.ip_frag = done.mask.tcp_flags = 0;
  done.mask.tp_src = done.mask.tp_dst = Be16();
  if (first.key.is_ipv6()) done.mask.ip_proto = 0;
  // Another way to here may have had more routers. Whether there is enough left for these is asked of each.
  if (outcome.verdict != sim::Verdict::drop) done.mask.ip_ttl = 0;
  done.key = first.key & done.mask;
  done.waits = waits;
  done.dependencies = outcome.dependencies;
  done.until = now + kKept;
  size_t parts = done.dependencies.size();
  for (const Actions& way : done.ways) parts += way.copies.size();
  const size_t weight = std::max<size_t>(1, (parts + kPartsOfOne - 1) / kPartsOfOne);
  packets_.add(uint64_t{key.in_port} << 32 | key.tunnel_key, key, std::move(done), weight);
  while (packets_.take_surplus()) {
  }
}

const FragmentMemory::Done* FragmentMemory::find(const FragmentKey& key, MonoTime now) const {
  const Done* found = packets_.find(key);
  return found == nullptr || now >= found->until ? nullptr : found;
}

void FragmentMemory::publish(std::span<const TagChange> changes) {
  if (changes.empty() || packets_.size() == 0) return;
  std::unordered_multimap<Tag, const TagChange*> by_tag;
  for (const TagChange& change : changes) by_tag.emplace(change.tag, &change);
  const auto touched = [&](const Done& done, const Dependency& dependency) {
    const auto [begin, end] = by_tag.equal_range(dependency.tag);
    return std::any_of(begin, end, [&](const auto& of_tag) {
      const std::optional<Match>& region = of_tag.second->region;
      return !region || dependency.rewritten || region->meets(done.of_first);
    });
  };
  packets_.for_each([&](Done& done) {
    done.outdated =
        done.outdated || std::any_of(done.dependencies.begin(), done.dependencies.end(),
                                     [&](const Dependency& d) { return touched(done, d); });
  });
}

FragmentMemory::Followed FragmentMemory::follow(const sim::Packet& later, sim::Outcome& outcome,
                                                MonoTime now) {
  const auto place = fragment_of(later.parsed, later.frame);
  if (!place) return {Answer::by_itself, {}};
  const Done* done = find(*FragmentKey::of(later), now);
  if (done != nullptr && done->parked) return {Answer::waits, done->waits};
  if (!outcome.follows_first) return {Answer::by_itself, {}};
  // With one that is outdated its own first one may be still to come: identifications are used again.
  const bool known = done != nullptr && !done->outdated;
  if (known && (later.key & done->mask) == done->key) {
    if (place->offset < done->end) return {Answer::refused, {}};
    if (take_ways(*done, later, outcome)) return {Answer::followed, done->waits};
  }
  if (place->offset < least_header(later.key)) return {Answer::refused, {}};
  return {known ? Answer::by_itself : Answer::unknown, {}};
}

bool FragmentMemory::take_ways(const Done& done, const sim::Packet& later, sim::Outcome& outcome) {
  std::vector<Copy> copies;
  std::vector<sim::Generated> pieces;
  uint32_t storm_limit = 0;  // of the copies
  for (Actions way : done.ways) {
    const uint32_t mtu = std::exchange(way.mtu, uint16_t{0});
    if (!fits(way, later.parsed, later.frame, later.offload.gso_size) ||
        !lives_long_enough(way, later))
      return false;
    if (mtu == 0 || later.size <= mtu) {
      copies.insert(copies.end(), way.copies.begin(), way.copies.end());
      storm_limit = std::max(storm_limit, way.storm_limit);
      continue;
    }
    if (!may_be_cut(later)) return false;
    std::vector<Frame> cut = sim::fragments_of(later.parsed, later.frame, later.offload, mtu);
    if (cut.empty()) return false;
    for (Frame& piece : cut)
      pieces.push_back({std::move(piece), way, sim::GeneratedKind::fragment, RouterId{}});
  }
  // Whom it comes from is learned, whatever becomes of it.
  std::vector<sim::StateWrite> learned = std::move(outcome.writes);
  std::erase_if(learned, [](const sim::StateWrite& write) {
    return !std::holds_alternative<sim::MacLearned>(write);
  });
  outcome.clear();
  outcome.writes = std::move(learned);
  outcome.reason = done.reason;
  if (!copies.empty())
    outcome.verdict = sim::Verdict::forward;
  else if (!pieces.empty())
    outcome.verdict = sim::Verdict::consumed;
  outcome.actions.copies = std::move(copies);
  outcome.actions.storm_limit = storm_limit;
  outcome.generated = std::move(pieces);
  return true;
}

}  // namespace plexus::agent
