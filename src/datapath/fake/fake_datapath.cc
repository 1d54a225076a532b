// SPDX-License-Identifier: Apache-2.0
#include "datapath/fake/fake_datapath.h"

#include <sys/eventfd.h>

#include <algorithm>

#include "base/check.h"
#include "datapath/check_flow.h"
#include "packet/build.h"
#include "sim/drop_reason.h"

namespace plexus::datapath {
namespace {

Duration interval_of(uint32_t rate) {
  return Duration(1'000'000'000 / std::max(rate, 1u));
}

size_t cost_of(std::span<const uint8_t> frame) {
  return std::max<size_t>(frame.size(), 1024);
}

}  // namespace

FakeDatapath::FakeDatapath(FakeOptions options)
    : options_(std::move(options)),
      event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      upcalls_(options_.upcall_queue_bytes) {
  PLEXUS_CHECK(event_.valid(), "eventfd for upcalls");
  const Duration interval = interval_of(options_.upcall_rate);
  ports_.emplace(
      kTunnelPort,
      Port{{kTunnelPort, ""}, {}, TokenBucket(interval, interval * options_.upcall_burst), {}});
}

Result<void> FakeDatapath::add_port(const PortSpec& port) {
  if (port.number.number < kFirstLocalPort)
    return Error{ErrorCode::invalid, "port numbers start at " + std::to_string(kFirstLocalPort)};
  if (options_.any_interface) interfaces_.insert(port.interface);
  if (!interfaces_.contains(port.interface))
    return Error{ErrorCode::not_found, "no interface " + port.interface};
  for (const auto& [number, other] : ports_)
    if (number == port.number || other.spec.interface == port.interface)
      return Error{ErrorCode::exists, "port " + std::to_string(number.number) + " is interface " +
                                          other.spec.interface};
  const Duration interval = interval_of(options_.upcall_rate);
  ports_.emplace(port.number,
                 Port{port, {}, TokenBucket(interval, interval * options_.upcall_burst), {}});
  return {};
}

Result<void> FakeDatapath::remove_port(DpPort number) {
  const auto it = ports_.find(number);
  if (it == ports_.end() || number == kTunnelPort)
    return Error{ErrorCode::not_found, "no port " + std::to_string(number.number)};
  for (const Subtable& table : it->second.subtables) flow_count_ -= table.flows.size();
  upcalls_.set_group(number, 0);
  ports_.erase(it);
  return {};
}

std::vector<PortSpec> FakeDatapath::ports() const {
  std::vector<PortSpec> out;
  for (const auto& [number, port] : ports_)
    if (number != kTunnelPort) out.push_back(port.spec);
  return out;
}

Result<PortStats> FakeDatapath::port_stats(DpPort number) const {
  const auto it = ports_.find(number);
  if (it == ports_.end())
    return Error{ErrorCode::not_found, "no port " + std::to_string(number.number)};
  return it->second.stats;
}

Result<void> FakeDatapath::set_tunnel(const TunnelSpec& tunnel) {
  if (tunnel.local.is_none()) return Error{ErrorCode::invalid, "a tunnel needs a local address"};
  tunnel_ = tunnel;
  return {};
}

Result<void> FakeDatapath::put_flow(const Flow& flow) {
  if (auto valid = check_flow(flow); !valid) return valid;
  const auto it = ports_.find(DpPort{flow.match.key.in_port});
  if (it == ports_.end())
    return Error{ErrorCode::not_found, "no port " + std::to_string(flow.match.key.in_port)};
  auto& tables = it->second.subtables;
  auto table = std::find_if(tables.begin(), tables.end(),
                            [&](const Subtable& t) { return t.mask == flow.match.mask; });
  if (table != tables.end()) {
    if (const auto old = table->flows.find(flow.match.key); old != table->flows.end()) {
      old->second.flow = flow;
      return {};
    }
  }
  if (flow_count_ >= options_.max_flows)
    return Error{ErrorCode::no_space, "the flow table is full"};
  if (table == tables.end()) {
    if (tables.size() >= options_.max_port_masks)
      return Error{ErrorCode::no_space,
                   "port " + std::to_string(it->first.number) + " has too many masks"};
    table = tables.insert(tables.end(), Subtable{flow.match.mask, {}});
  }
  table->flows.emplace(flow.match.key, FlowEntry{flow, {}});
  ++flow_count_;
  return {};
}

const FlowEntry* FakeDatapath::find(const Match& match) const {
  const auto port = ports_.find(DpPort{match.key.in_port});
  if (port == ports_.end()) return nullptr;
  for (const Subtable& table : port->second.subtables) {
    if (table.mask != match.mask) continue;
    const auto it = table.flows.find(match.key);
    if (it != table.flows.end()) return &it->second;
  }
  return nullptr;
}

Result<FlowStats> FakeDatapath::remove_flow(const Match& match) {
  const FlowEntry* entry = find(match);
  if (entry == nullptr) return Error{ErrorCode::not_found, "no such flow"};
  const FlowStats stats = entry->stats;
  auto& tables = ports_.find(DpPort{match.key.in_port})->second.subtables;
  for (Subtable& table : tables)
    if (table.mask == match.mask) table.flows.erase(match.key);
  std::erase_if(tables, [](const Subtable& table) { return table.flows.empty(); });
  --flow_count_;
  return stats;
}

Result<FlowStats> FakeDatapath::flow_stats(const Match& match) const {
  const FlowEntry* entry = find(match);
  if (entry == nullptr) return Error{ErrorCode::not_found, "no such flow"};
  return entry->stats;
}

bool FakeDatapath::read_stats(
    size_t /*limit*/,
    const std::function<void(const Match& match, const FlowStats& stats)>& visit) {
  const auto all = *dump_flows();
  for (const FlowEntry& entry : all) visit(entry.flow.match, entry.stats);
  return true;
}

Result<std::vector<FlowEntry>> FakeDatapath::dump_flows() const {
  std::vector<FlowEntry> out;
  for (const auto& [number, port] : ports_)
    for (const Subtable& table : port.subtables)
      for (const auto& [key, entry] : table.flows) out.push_back(entry);
  return out;
}

void FakeDatapath::drop(Port& port, const std::string& reason) {
  ++counters_.drops[reason];
  ++port.stats.drops;
}

void FakeDatapath::inject(DpPort port, std::span<const uint8_t> frame, const Offload& offload) {
  const auto it = ports_.find(port);
  if (it == ports_.end() || !interfaces_.contains(it->second.spec.interface)) return;
  forward(it->second, 0, frame, offload);
}

void FakeDatapath::inject_tunnel(const IpAddr& remote, uint32_t key, std::span<const uint8_t> frame,
                                 const Offload& offload) {
  if (!tunnel_) return;
  Port& port = ports_.find(kTunnelPort)->second;
  if (std::find(tunnel_->peers.begin(), tunnel_->peers.end(), remote) == tunnel_->peers.end())
    return drop(port, "unknown_tunnel_peer");
  forward(port, key, frame, offload);
}

FlowEntry* FakeDatapath::lookup(Port& port, const FlowKey& key) {
  for (Subtable& table : port.subtables) {
    const auto it = table.flows.find(key & table.mask);
    if (it != table.flows.end()) return &it->second;
  }
  return nullptr;
}

void FakeDatapath::forward(Port& port, uint32_t tunnel_key, std::span<const uint8_t> frame,
                           const Offload& offload) {
  ++port.stats.rx_packets;
  port.stats.rx_bytes += frame.size();
  ParsedPacket parsed = parse_packet(frame);
  if (parsed.error != ParseError::none)
    return drop(port, std::string(sim::to_string(sim::drop_reason_of(parsed.error))));
  parsed.key.in_port = port.spec.number.number;
  parsed.key.tunnel_key = tunnel_key;
  FlowEntry* entry = lookup(port, parsed.key);
  if (entry != nullptr && fits(entry->flow.actions, parsed, frame, offload.gso_size)) {
    ++counters_.flow_hits;
    ++entry->stats.packets;
    entry->stats.bytes += frame.size();
    entry->stats.last_used = options_.clock();
    if (entry->flow.actions.drops())
      ++counters_.flow_drops[std::string(sim::to_string(entry->flow.drop_reason))];
    const uint32_t limit = entry->flow.actions.storm_limit;
    if (limit != 0 &&
        !port.storm.take(options_.clock(), storm_cost(limit, offload.packets(frame.size()))))
      return drop(port, "storm_limit");
    return run(entry->flow.actions, parsed, frame, offload, port);
  }
  ++counters_.flow_misses;
  if (port.waiting >= options_.upcall_waiting_bytes || !port.bucket.take(options_.clock())) {
    ++counters_.upcalls_limited;
    ++port.stats.upcalls_limited;
    return;
  }
  Upcall upcall{port.spec.number, tunnel_key, offload, {frame.begin(), frame.end()}};
  if (!upcalls_.push({std::move(upcall), cost_of(frame)})) {
    ++counters_.upcalls_lost;
    return;
  }
  ++counters_.upcalls;
  port.waiting += cost_of(frame);
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
}

void FakeDatapath::run(const Actions& actions, const ParsedPacket& parsed,
                       std::span<const uint8_t> frame, const Offload& offload, Port& charged) {
  if (actions.drops()) return drop(charged, "by_flow");
  if (const NeighbourAnswer* answer = actions.answer()) {
    if (auto frame_back =
            neighbour_answer(parsed, frame, answer->target, answer->mac, answer->router))
      send({{}, LocalOutput{DpPort{parsed.key.in_port}}}, std::move(*frame_back), {}, charged);
    return;
  }
  for (const Copy& copy : actions.copies) {
    if (copy.rewrite.ttl_decrement > 0 && parsed.key.is_ip() &&
        parsed.key.ip_ttl <= copy.rewrite.ttl_decrement) {
      drop(charged, "ttl_exceeded");
      continue;
    }
    send(copy, rewritten(copy.rewrite, parsed, frame, offload.partial_checksum), offload, charged);
  }
}

void FakeDatapath::send(const Copy& copy, std::vector<uint8_t> frame, const Offload& offload,
                        Port& charged) {
  DpPort number = kTunnelPort;
  if (const auto* local = std::get_if<LocalOutput>(&copy.output)) number = local->port;
  const auto it = ports_.find(number);
  if (it == ports_.end()) return drop(charged, "unknown_output_port");
  if (number == kTunnelPort ? !tunnel_.has_value()
                            : !interfaces_.contains(it->second.spec.interface))
    return drop(charged, number == kTunnelPort ? "no_tunnel" : "output_failed");
  ++it->second.stats.tx_packets;
  it->second.stats.tx_bytes += frame.size();
  sent_.push_back({copy.output, offload, std::move(frame)});
}

Result<void> FakeDatapath::execute(std::span<const uint8_t> frame, const Offload& offload,
                                   const Actions& actions) {
  const ParsedPacket parsed = parse_packet(frame);
  if (parsed.error == ParseError::truncated_ethernet)
    return Error{ErrorCode::invalid, "a frame needs an Ethernet header"};
  if (auto valid = check_actions(actions); !valid) return valid;
  if (actions.answer() != nullptr)
    return Error{ErrorCode::invalid, "an answer is sent by its flow, not by execute"};
  if (!actions.drops()) run(actions, parsed, frame, offload, ports_.find(kTunnelPort)->second);
  return {};
}

bool FakeDatapath::take_from_storm_limit(DpPort port, uint32_t limit, uint32_t packets) {
  const auto it = ports_.find(port);
  return it != ports_.end() && it->second.storm.take(options_.clock(), storm_cost(limit, packets));
}

size_t FakeDatapath::receive(Quota quota, const std::function<void(Upcall&&)>& sink) {
  const size_t count = upcalls_.pop(quota, [&](WaitingUpcall&& waiting) {
    if (const auto port = ports_.find(waiting.upcall.in_port); port != ports_.end())
      port->second.waiting -= std::min<size_t>(port->second.waiting, waiting.cost);
    sink(std::move(waiting.upcall));
  });
  if (upcalls_.empty()) {
    uint64_t value = 0;
    [[maybe_unused]] const auto read = ::read(event_.get(), &value, sizeof value);
  }
  return count;
}

std::vector<SentFrame> FakeDatapath::take_sent() {
  return std::exchange(sent_, {});
}

}  // namespace plexus::datapath
