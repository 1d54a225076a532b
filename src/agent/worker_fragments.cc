// SPDX-License-Identifier: Apache-2.0
// The part of the worker that is about fragments: later ones go where their first one went, wait with it when it waits, and a
// moment for it when they come before it. docs/design/services.md.
#include <algorithm>

#include "agent/worker.h"

namespace plexus::agent {

bool Worker::follow_first(const sim::Packet& later, Slot& slot, unsigned tries, MonoTime now,
                          bool waited, std::vector<datapath::Upcall>& behind) {
  sim::Outcome& outcome = slot.outcome;
  if (!outcome.follows_first && outcome.verdict != sim::Verdict::postpone) return false;
  const auto first = fragments_.follow(later, outcome, now);
  switch (first.answer) {
    case FragmentMemory::Answer::by_itself:
      return false;
    case FragmentMemory::Answer::refused:
      drop_after_all(sim::DropReason::fragment_refused);
      return true;
    case FragmentMemory::Answer::waits:
      if (parked_.join(first.waits.ticket, std::move(slot.packet)) == Parking::Answer::parked) {
        ++counters_.parked;
        traces_.waits_for_first();
      } else {
        drop_after_all(sim::DropReason::too_many_waiting);
      }
      return true;
    case FragmentMemory::Answer::followed: {
      ++counters_.fragments_followed;
      outcome.met.clear();  // rules without ports; those of the first one were asked once
      traces_.goes_like_first(outcome);
      const auto& connection = first.waits.connection;
      if (outcome.verdict == sim::Verdict::drop || !connection ||
          !connections_.is_waiting(*connection) || !held_.has_room(slot.packet.in_port))
        return false;
      // Not before its first one, which may go another way when it is let go.
      ++counters_.held;
      held_.hold(*connection, {std::move(slot.packet), tries});
      return true;
    }
    case FragmentMemory::Answer::unknown:
      if (waited || !outcome.follows_first) return false;
      behind = early_.wait(*FragmentKey::of(later), tenant_of(slot.packet.in_port),
                           std::move(slot.packet), now);
      ++counters_.fragments_early;
      traces_.waits_for_first();
      return true;
  }
  return false;
}

std::vector<datapath::Upcall> Worker::note_first(const sim::Packet& first,
                                                 const sim::Outcome& outcome,
                                                 std::optional<state::ConnectionNumber> connection,
                                                 MonoTime now) {
  // The ticket is that of the parking which follows, when it is postponed.
  fragments_.remember(first, outcome, now, {.ticket = next_ticket_, .connection = connection});
  if (early_.size() == 0) return {};
  const auto key = FragmentKey::of(first);
  return key ? early_.take(*key) : std::vector<datapath::Upcall>{};
}

void Worker::release_early(MonoTime now) {
  if (!snapshot_) return;
  for (datapath::Upcall& packet : early_.take_due(now))
    handle(std::move(packet), 1, now, From::early);
  finish_batch();
}

std::optional<MonoTime> Worker::next_due() const {
  const auto connections = connections_.next_due(), fragments = early_.next_due();
  if (!connections || !fragments) return connections ? connections : fragments;
  return std::min(*connections, *fragments);
}

}  // namespace plexus::agent
