// SPDX-License-Identifier: Apache-2.0
// What a scenario does about connections: messages between the hosts' agents, what hosts know, and what an agent that starts
// again knows of it.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "scenarios/cloud.h"

namespace plexus::scenario {

bool ScenarioCloud::carry_messages() {
  for (auto& [name, host] : hosts_) {
    for (agent::PeerMessage& message : host->worker->take_messages()) {
      for (const auto& [other_name, other] : hosts_)
        if (other->id == message.to) peer_links_.post({name, other_name, std::move(message.bytes)});
    }
  }
  const auto arriving = peer_links_.take();
  for (const PeerLinks::Message& message : arriving)
    hosts_.at(message.to)->worker->receive(hosts_.at(message.from)->address, message.bytes, now_);
  return !arriving.empty();
}

bool ScenarioCloud::end_waiting() {
  const bool some = std::any_of(hosts_.begin(), hosts_.end(), [](const auto& h) {
    return h.second->worker->held() + h.second->worker->early() > 0;
  });
  if (some) now_ = now_ + agent::ConnectionOptions{}.hold;
  return some;
}

Result<std::vector<std::string>> ScenarioCloud::connections(std::string_view host_name) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  std::vector<std::string> lines;
  (*host)->worker->connections().table().for_each([&](auto number, const state::Connection& c) {
    // One that has expired may wait to be removed.
    if ((*host)->worker->connections().table().expires(number) <= now_) return;
    const auto name_of = [&](const PortId& id) {
      const model::Port* port = (*host)->topology->snapshot()->port(id);
      return port != nullptr ? port->name : "?";
    };
    lines.push_back(agent::text_of(c) + ", " + name_of(c.port) + " to " + name_of(c.reply_port));
  });
  std::sort(lines.begin(), lines.end());
  return lines;
}

Result<void> ScenarioCloud::set_peer_link(std::string_view from, std::string_view to,
                                          PeerLink link) {
  for (const std::string_view name : {from, to})
    if (const auto host = find_host(name); !host) return host.error();
  peer_links_.set(std::string(from), std::string(to), link);
  return settle();
}

Result<void> ScenarioCloud::restart(std::string_view host_name, bool disk_lost) {
  const auto found = find_host(host_name);
  if (!found) return found.error();
  VirtualHost& host = **found;
  collect_drops();
  const auto file = std::filesystem::temp_directory_path() /
                    ("plexus-scenario-" + std::to_string(getpid()) + "-" + host.name);
  const agent::KeptConnections::Place place{file.string(), host.id, Uuid::derived("boot", "one")};
  if (!disk_lost) host.worker->open_connections(place, now_);
  host.worker.reset();  // what it held or wanted to say is gone
  host.worker = std::make_unique<agent::Worker>(host.lab->datapath(), options_);
  if (!disk_lost) host.worker->open_connections(place, now_);
  const std::string trouble = host.worker->connections().trouble();
  std::error_code ignored;
  std::filesystem::remove(file, ignored);  // open as long as the worker is there
  if (!trouble.empty()) return Error{ErrorCode::unavailable, trouble};
  host.worker->publish(host.topology->snapshot(), {}, ++host.epoch, now_);
  host.worker->adopt(now_);
  host.drops_seen = drops_of(host);
  return settle();
}

}  // namespace plexus::scenario
