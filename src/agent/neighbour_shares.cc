// SPDX-License-Identifier: Apache-2.0
#include "agent/neighbour_shares.h"

namespace plexus::agent {

bool NeighbourShares::admit(const model::Snapshot& snapshot, const sim::NeighbourLearned& heard) {
  const Key key(heard.port, heard.address);
  if (!snapshot.neighbour(heard.port, heard.address)) {
    const size_t known = snapshot.neighbours(heard.port).size();
    if (known >= most_) return false;
    const auto held = held_.find({heard.port, heard.entered_by});
    if (held != held_.end() && held->second >= 3 * (most_ - known)) return false;
  }
  auto entry = entered_by_.find(key);
  if (entry != entered_by_.end()) {
    if (entry->second == heard.entered_by) return true;
    forget(entry);
  }
  entered_by_.emplace(key, heard.entered_by);
  ++held_[{heard.port, heard.entered_by}];
  return true;
}

void NeighbourShares::forget_gone(const model::Snapshot& snapshot) {
  for (auto at = entered_by_.begin(); at != entered_by_.end();) {
    const bool known = snapshot.neighbour(at->first.first, at->first.second).has_value();
    at = known ? std::next(at) : forget(at);
  }
}

NeighbourShares::Entries::iterator NeighbourShares::forget(Entries::iterator at) {
  const auto held = held_.find({at->first.first, at->second});
  if (--held->second == 0) held_.erase(held);
  return entered_by_.erase(at);
}

}  // namespace plexus::agent
