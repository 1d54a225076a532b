// SPDX-License-Identifier: Apache-2.0
#include "agent/rule_counters.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>

#include "flow/seeded_hash.h"

namespace plexus::agent {
namespace {

uint64_t hash_of(std::span<const sim::MetRule> met, uint64_t seed) {
  SeededHash h(seed);
  for (const sim::MetRule& m : met) {
    uint64_t words[2];
    static_assert(sizeof words == sizeof m.rule.bytes);
    std::memcpy(words, m.rule.bytes.data(), sizeof words);
    h.add(words[0], words[1]);
  }
  return h.value();
}

}  // namespace

uint32_t RuleCounters::use(std::span<const sim::MetRule> met) {
  if (met.empty()) return 0;
  const auto [number, made] = sets_.use(
      hash_of(met, seed_), [&](const auto& set) { return std::ranges::equal(set, met); },
      [&] { return std::vector(met.begin(), met.end()); });
  return number + 1;
}

void RuleCounters::release(uint32_t tally) {
  if (tally != 0) sets_.release(tally - 1);
}

void RuleCounters::add(uint32_t tally, uint64_t packets, uint64_t bytes) {
  if (tally != 0 && packets != 0) add(sets_[tally - 1], packets, bytes);
}

void RuleCounters::add(std::span<const sim::MetRule> met, uint64_t packets, uint64_t bytes) {
  for (const sim::MetRule& m : met) {
    Count& count = counts_.try_emplace(m.rule, Count{.holder = m.holder}).first->second;
    count.packets += packets;
    count.bytes += bytes;
  }
}

void RuleCounters::forget_gone(const model::Snapshot& snapshot) {
  std::erase_if(counts_, [&](const auto& entry) {
    return snapshot.rule(RuleId{entry.first}) == nullptr &&
           snapshot.security_rule(SecurityRuleId{entry.first}) == nullptr;
  });
}

codec::Node rule_counters_document(const RuleCounters& counters, const model::Snapshot& snapshot) {
  using codec::Node;
  struct Line {
    std::string_view in;
    std::string name;
    uint32_t position;
    std::string rule;
    Uuid id;
    uint64_t packets, bytes;
  };
  std::vector<Line> lines;
  const auto name_of = [](const auto* record, const Uuid& id) {
    return record == nullptr || record->name.empty() ? id.str() : record->name;
  };
  for (const auto& [id, count] : counters.counts()) {
    if (const auto* rule = snapshot.rule(RuleId{id})) {
      lines.push_back({"chain", name_of(snapshot.chain(rule->chain), count.holder), rule->position,
                       rule->name, id, count.packets, count.bytes});
    } else if (const auto* member = snapshot.security_rule(SecurityRuleId{id})) {
      lines.push_back({"security_group",
                       name_of(snapshot.security_group(member->group), count.holder), 0,
                       member->name, id, count.packets, count.bytes});
    }
  }
  std::ranges::sort(lines, {},
                    [](const Line& l) { return std::tie(l.in, l.name, l.position, l.rule, l.id); });
  std::vector<Node> list;
  for (const Line& l : lines) {
    Node one = Node::map_of({});
    one.add("in", Node::of_text(l.in));
    one.add("name", Node::of_text(l.name));
    if (l.in == "chain") one.add("position", Node::of_number(l.position));
    if (!l.rule.empty()) one.add("rule", Node::of_text(l.rule));
    one.add("id", Node::of_text(l.id.str()));
    one.add("packets", Node::of_number(l.packets));
    one.add("bytes", Node::of_number(l.bytes));
    list.push_back(std::move(one));
  }
  Node out = Node::map_of({});
  out.add("rules", Node::list_of(std::move(list)));
  return out;
}

}  // namespace plexus::agent
