// SPDX-License-Identifier: Apache-2.0
#include "agent/early_fragments.h"

#include <iterator>

namespace plexus::agent {

bool EarlyFragments::wait(const FragmentKey& key, uint64_t tenant, datapath::Upcall& packet,
                          MonoTime now) {
  const size_t bytes = packet.frame.size();
  const auto group_of = groups_.find(key);
  // The port may be another tenant's since: those that wait together are one's.
  if (group_of != groups_.end()) tenant = group_of->second.tenant;
  const auto of_port = ports_.find(key.in_port);
  const auto of_tenant = tenants_.find(tenant);
  const Account taken = of_port == ports_.end() ? Account{} : of_port->second;
  if (size_ >= kPackets || taken.packets >= kOfOnePort || taken.bytes + bytes > kBytesOfPort ||
      (of_tenant != tenants_.end() && of_tenant->second >= kOfOneTenant))
    return false;
  Account& account = ports_[key.in_port];
  ++account.packets;
  account.bytes += bytes;
  ++tenants_[tenant];
  ++size_;
  Group& group = groups_[key];
  if (group.packets.empty()) {
    group.number = next_number_++;
    group.tenant = tenant;
    due_.push_back({now + kWait, key, group.number});
  }
  group.packets.push_back(std::move(packet));
  return true;
}

std::vector<datapath::Upcall> EarlyFragments::take(const FragmentKey& key) {
  const auto found = groups_.find(key);
  if (found == groups_.end()) return {};
  std::vector<datapath::Upcall> out = std::move(found->second.packets);
  const auto tenant = tenants_.find(found->second.tenant);
  groups_.erase(found);
  if (groups_.empty()) due_.clear();
  const auto account = ports_.find(key.in_port);
  for (const datapath::Upcall& packet : out) account->second.bytes -= packet.frame.size();
  account->second.packets -= out.size();
  if (account->second.packets == 0) ports_.erase(account);
  tenant->second -= out.size();
  if (tenant->second == 0) tenants_.erase(tenant);
  size_ -= out.size();
  return out;
}

std::vector<datapath::Upcall> EarlyFragments::take_due(MonoTime now) {
  std::vector<datapath::Upcall> out;
  while (!due_.empty() && due_.front().at <= now) {
    const Due due = due_.front();
    due_.pop_front();
    const auto group = groups_.find(due.key);
    if (group == groups_.end() || group->second.number != due.number) continue;
    auto packets = take(due.key);
    std::move(packets.begin(), packets.end(), std::back_inserter(out));
  }
  return out;
}

std::optional<MonoTime> EarlyFragments::next_due() const {
  return due_.empty() ? std::nullopt : std::optional(due_.front().at);
}

}  // namespace plexus::agent
