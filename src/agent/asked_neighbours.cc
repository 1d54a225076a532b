// SPDX-License-Identifier: Apache-2.0
#include "agent/asked_neighbours.h"

#include <algorithm>

namespace plexus::agent {

bool AskedNeighbours::may_ask(const std::vector<sim::Missing>& missing, MonoTime now) {
  forget_old(now);
  return !std::all_of(missing.begin(), missing.end(),
                      [&](const sim::Missing& one) { return asked_.contains(one); });
}

void AskedNeighbours::note(const std::vector<sim::Missing>& missing, MonoTime now) {
  for (const sim::Missing& one : missing)
    if (asked_.insert(one).second) in_order_.push_back({one, now});
  while (asked_.size() > kMost) forget_oldest();
}

void AskedNeighbours::forget_old(MonoTime now) {
  while (!in_order_.empty() && now - in_order_.front().when >= interval_) forget_oldest();
}

void AskedNeighbours::forget_oldest() {
  asked_.erase(in_order_.front().which);
  in_order_.pop_front();
}

}  // namespace plexus::agent
