// SPDX-License-Identifier: Apache-2.0
#include "flow/use_order.h"

#include <algorithm>

namespace plexus {

int64_t UseOrder::second_of(MonoTime t) {
  constexpr int64_t kSecond = 1'000'000'000;
  return t.ns >= 0 ? t.ns / kSecond : -((-t.ns + kSecond - 1) / kSecond);
}

void UseOrder::add(FlowNumber flow, MonoTime used) {
  while (places_.size() <= flow) places_.emplace_back();
  places_[flow] = {used, kNone, kNone, kProbation};
  link(flow);
}

void UseOrder::remove(FlowNumber flow) {
  unlink(flow);
}

void UseOrder::touch(FlowNumber flow, MonoTime used) {
  const Place& place = places_[flow];
  if (used <= place.used) return;
  move(flow, place.segment, used);
}

void UseOrder::protect(FlowNumber flow, MonoTime used) {
  if (max_protected_ == 0) return touch(flow, used);
  const Place& place = places_[flow];
  if (place.segment == kProbation && counts_[kProtected] == max_protected_) {
    const FlowNumber least = segments_[kProtected].begin()->second.first;
    // Only for one that has been used since: who stays is who was used last.
    if (places_[least].used >= used) return touch(flow, used);
    move(least, kProbation, places_[least].used);
  }
  move(flow, kProtected, std::max(used, place.used));
}

UseOrder::FlowNumber UseOrder::first_to_go() const {
  const Seconds& from = segments_[counts_[kProbation] > 0 ? kProbation : kProtected];
  PLEXUS_CHECK(!from.empty(), "somebody is there to go");
  return from.begin()->second.first;
}

std::vector<UseOrder::FlowNumber> UseOrder::unused_since(MonoTime until, size_t limit) const {
  std::vector<FlowNumber> found;
  for (const Seconds& seconds : segments_) {
    size_t left =
        limit;  // each segment's oldest; which of them are the oldest of all is sorted out below
    for (const auto& [second, list] : seconds) {
      if (second > second_of(until) || left == 0) break;
      for (FlowNumber f = list.first; f != kNone && left > 0; f = places_[f].after) {
        if (places_[f].used > until) continue;
        found.push_back(f);
        --left;
      }
    }
  }
  std::sort(found.begin(), found.end(), [this](FlowNumber a, FlowNumber b) {
    return places_[a].used != places_[b].used ? places_[a].used < places_[b].used : a < b;
  });
  if (found.size() > limit) found.resize(limit);
  return found;
}

void UseOrder::link(FlowNumber flow) {
  Place& place = places_[flow];
  List& list = segments_[place.segment][second_of(place.used)];
  place.before = list.last;
  place.after = kNone;
  (list.last == kNone ? list.first : places_[list.last].after) = flow;
  list.last = flow;
  ++counts_[place.segment];
}

void UseOrder::unlink(FlowNumber flow) {
  const Place& place = places_[flow];
  Seconds& seconds = segments_[place.segment];
  const auto it = seconds.find(second_of(place.used));
  PLEXUS_CHECK(it != seconds.end(), "a flow stands in the list of its second");
  List& list = it->second;
  (place.before == kNone ? list.first : places_[place.before].after) = place.after;
  (place.after == kNone ? list.last : places_[place.after].before) = place.before;
  if (list.first == kNone) seconds.erase(it);
  --counts_[place.segment];
}

void UseOrder::move(FlowNumber flow, Segment to, MonoTime used) {
  Place& place = places_[flow];
  if (place.segment == to && second_of(place.used) == second_of(used)) {
    place.used = used;
    return;
  }
  unlink(flow);
  place.used = used;
  place.segment = to;
  link(flow);
}

}  // namespace plexus
