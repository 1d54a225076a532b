// SPDX-License-Identifier: Apache-2.0
// What must hold for every change of every topology: what is changed step by step equals what is made anew, and tags find
// each flow that has another answer. The seed of a failure is printed; PLEXUS_SEED=n runs one seed alone,
// PLEXUS_TEST_TIMES=n so many times as many seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "flow/match.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_random_cloud.h"
#include "sim/test_random_packets.h"

namespace plexus::sim {
namespace {

/// What turns the first cloud into the second, as one host is told, in any order.
std::vector<model::Change> difference(const TestCloud& a, const TestCloud& b, HostId self,
                                      Dice& dice) {
  std::vector<model::Change> out;
  const auto compare = [&out](const auto& before, const auto& after, auto make) {
    for (const auto& [id, r] : before)
      if (!after.contains(id)) out.push_back(make(id, nullptr));
    for (const auto& [id, r] : after)
      if (const auto old = before.find(id); old == before.end() || old->second != r)
        out.push_back(make(id, &r));
  };
  compare(a.hosts, b.hosts, [](HostId id, const model::Host* r) {
    return model::HostChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.bridges, b.bridges, [](BridgeId id, const model::Bridge* r) {
    return model::BridgeChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.routers, b.routers, [](RouterId id, const model::Router* r) {
    return model::RouterChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.ports, b.ports, [](PortId id, const model::Port* r) {
    return model::PortChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.routes, b.routes, [](RouteId id, const model::Route* r) {
    return model::RouteChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.bindings, b.bindings, [](PortId id, const model::Binding* r) {
    return model::BindingChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.neighbours, b.neighbours, [](PortId id, const std::vector<model::Neighbour>* r) {
    return model::NeighboursChange{id, r ? *r : std::vector<model::Neighbour>()};
  });
  add_filter_changes(a, b, out);
  add_translation_changes(a, b, out);
  std::set<PortId> bound;
  for (const auto* cloud : {&a, &b})
    for (const auto& [id, binding] : cloud->bindings) bound.insert(id);
  for (PortId id : bound) out.push_back(b.local_port_change(id, self));
  for (const IpFamily family : {IpFamily::v4, IpFamily::v6})
    out.push_back(model::TunnelMtuChange{family, b.tunnel_mtu});
  dice.shuffle(out);
  return out;
}

TEST(Property, IncrementalEqualsRecomputedAndTagsFindEveryChange) {
  size_t changed = 0, answers = 0, hits = 0, dependents = 0;
  for (uint64_t seed : seeds(100)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 1000000);
    World w = random_world(dice);
    const HostId self = w.hosts[0];
    model::Topology topology(self);
    topology.apply(w.cloud.changes(self));

    struct Question {
      Entry entry;
      Frame frame;
    };
    for (int step = 0; step < 20; ++step) {
      std::vector<Question> questions;
      for (int i = 0; i < 20; ++i) {
        const Entry entry = random_entry(w, self, dice);
        questions.push_back({entry, frame_of(dice.one_in(3) ? random_key(w, entry, dice)
                                                            : routed_key(w, entry, dice),
                                             dice)});
      }
      std::vector<Outcome> before;
      const auto old = topology.snapshot();
      for (const Question& q : questions)
        before.push_back(simulate(packet_of(q.frame, q.entry.port, q.entry.tunnel_key), *old, {}));

      const TestCloud was = w.cloud;
      for (uint64_t n = 1 + dice.below(2); n > 0; --n) mutate(w, dice);
      const model::Delta delta = topology.apply(difference(was, w.cloud, self, dice));
      const auto tags = tags_of(delta);
      const auto now = topology.snapshot();
      const auto scratch = w.cloud.snapshot(self);
      for (size_t i = 0; i < questions.size(); ++i) {
        const Question& q = questions[i];
        const Packet packet = packet_of(q.frame, q.entry.port, q.entry.tunnel_key);
        const Outcome after = simulate(packet, *now, {}),
                      recomputed = simulate(packet, *scratch, {});
        ASSERT_TRUE(same_answer(after, recomputed))
            << format_frame(q.frame) << "\nincremental: " << describe(after)
            << "\nrecomputed:  " << describe(recomputed);
        ASSERT_EQ(after.mask, recomputed.mask);
        ++answers;
        if (!before[i].cacheable) continue;
        const Match match = match_of(packet.key, before[i].mask);
        const bool hit = std::any_of(tags.begin(), tags.end(), [&](const TagChange& t) {
          return std::any_of(before[i].dependencies.begin(), before[i].dependencies.end(),
                             [&](const Dependency& d) {
                               return d.tag == t.tag &&
                                      (!t.region || d.rewritten || t.region->meets(match));
                             });
        });
        if (hit) ++hits;
        // A flow that stays must be right for its packet, and stay a class of the same bits.
        if (same_answer(before[i], after) && before[i].mask == after.mask) continue;
        ++changed;
        if (same_answer(before[i], after)) continue;  // other bits decide now, for the same answer
        // Ports are asked for now on the way to the same answer, by a rule that the packet cannot meet.
        if ((after.follows_first || after.leads_fragments) && before[i].verdict == after.verdict &&
            before[i].reason == after.reason && before[i].actions == after.actions)
          continue;
        ++dependents;
        ASSERT_TRUE(hit) << format_frame(q.frame) << "\nbefore: " << describe(before[i])
                         << "\nafter:  " << describe(after);
      }
    }
  }
  std::printf("%zu answers, %zu changed, %zu of them otherwise; %zu flows would have gone\n",
              answers, changed, dependents, hits);
  EXPECT_GT(dependents, answers / 200);
}

}  // namespace
}  // namespace plexus::sim
