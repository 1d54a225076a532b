// SPDX-License-Identifier: Apache-2.0
#include "agent/early_fragments.h"

#include <algorithm>
#include <iterator>

namespace plexus::agent {

std::vector<datapath::Upcall> EarlyFragments::wait(const FragmentKey& key, uint64_t tenant,
                                                   datapath::Upcall&& packet, MonoTime now) {
  const size_t weight = std::max<size_t>(1, (packet.frame.size() + kBytesOfOne - 1) / kBytesOfOne);
  ++size_;
  // The port may be another tenant's since: those that wait together are one's.
  const bool joins = groups_.change(
      key, weight, [&](Group& group) { group.packets.push_back(std::move(packet)); });
  if (!joins) {
    Group group{.due = now + kWait, .packets = {}};
    group.packets.push_back(std::move(packet));
    groups_.add(tenant, key, std::move(group), weight);
  }
  std::vector<datapath::Upcall> out;
  while (auto goes = groups_.take_surplus()) append(std::move(*goes), out);
  return out;
}

std::vector<datapath::Upcall> EarlyFragments::take(const FragmentKey& key) {
  std::vector<datapath::Upcall> out;
  if (auto group = groups_.take(key)) append(std::move(*group), out);
  return out;
}

std::vector<datapath::Upcall> EarlyFragments::take_due(MonoTime now) {
  std::vector<datapath::Upcall> out;
  for (auto due = next_due(); due && *due <= now; due = next_due())
    append(groups_.take_oldest(), out);
  return out;
}

std::optional<MonoTime> EarlyFragments::next_due() const {
  const Group* next = groups_.oldest();
  return next == nullptr ? std::nullopt : std::optional(next->due);
}

void EarlyFragments::append(Group&& group, std::vector<datapath::Upcall>& out) {
  size_ -= group.packets.size();
  std::move(group.packets.begin(), group.packets.end(), std::back_inserter(out));
}

}  // namespace plexus::agent
