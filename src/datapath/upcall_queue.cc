// SPDX-License-Identifier: Apache-2.0
#include "datapath/upcall_queue.h"

namespace plexus::datapath {
namespace {
/// Group numbers of ports without a group: no tenant's, whose numbers have this bit too only by chance.
constexpr uint64_t kOwnGroup = uint64_t{1} << 63;
}  // namespace

void UpcallQueue::set_group(DpPort port, uint64_t group) {
  if (group == 0)
    groups_of_ports_.erase(port.number);
  else
    groups_of_ports_[port.number] = group;
}

uint64_t UpcallQueue::group_of(uint32_t port) const {
  const auto it = groups_of_ports_.find(port);
  return it == groups_of_ports_.end() ? kOwnGroup | port : it->second;
}

bool UpcallQueue::push(WaitingUpcall&& waiting) {
  const uint32_t number = waiting.upcall.in_port.number;
  const auto it = ports_.find(number);
  if (it != ports_.end()) {
    if (cost_ >= most_cost_) return false;
    cost_ += waiting.cost;
    it->second.upcalls.push_back(std::move(waiting));
    return true;
  }
  cost_ += waiting.cost;
  ports_[number].upcalls.push_back(std::move(waiting));
  const uint64_t group = group_of(number);
  const auto [at, fresh] = groups_.try_emplace(group);
  at->second.turns.push_back(number);
  if (fresh) turns_.push_back(group);
  return true;
}

size_t UpcallQueue::pop(Quota quota, const std::function<void(WaitingUpcall&&)>& sink) {
  ++pops_;
  size_t count = 0;
  // Ports that have had their share wait for the next pop(), in their order.
  std::deque<std::pair<uint64_t, uint32_t>> done;
  while (count < quota.in_all && !turns_.empty()) {
    const uint64_t group = turns_.front();
    turns_.pop_front();
    const auto at = groups_.find(group);
    const uint32_t number = at->second.turns.front();
    at->second.turns.pop_front();
    const auto port = ports_.find(number);
    if (port->second.pop != pops_) {
      port->second.pop = pops_;
      port->second.handed_out = 0;
    }
    WaitingUpcall waiting = std::move(port->second.upcalls.front());
    port->second.upcalls.pop_front();
    cost_ -= waiting.cost;
    ++count;
    if (port->second.upcalls.empty())
      ports_.erase(port);
    else if (++port->second.handed_out < quota.of_one_port)
      at->second.turns.push_back(number);
    else
      done.emplace_back(group, number);
    if (at->second.turns.empty())
      groups_.erase(at);
    else
      turns_.push_back(group);
    sink(std::move(waiting));
  }
  for (const auto& [group, number] : done) {
    const auto [at, fresh] = groups_.try_emplace(group);
    at->second.turns.push_back(number);
    if (fresh) turns_.push_back(group);
  }
  return count;
}

}  // namespace plexus::datapath
