// SPDX-License-Identifier: Apache-2.0
#include "agent/control.h"

#include <algorithm>

#include "agent/connection_document.h"
#include "agent/explain.h"
#include "agent/trace_question.h"
#include "codec/json.h"
#include "flow/match_text.h"

namespace plexus::agent {

using codec::Node;

namespace {

Node text(std::string_view value) {
  return Node::of_text(value);
}
Node number(uint64_t value) {
  return Node::of_number(value);
}

Node seconds(double value) {
  return Node::of_number(static_cast<uint64_t>(std::max(0.0, value)));
}
std::string age_text(double value) {
  return fmt::format("{} s", static_cast<uint64_t>(std::max(0.0, value)));
}

/// The outside ports that this host has of a pool of source addresses.
Node port_blocks_of(const PortBlockPlan::Status& pool) {
  Node out = Node::map_of({});
  out.add("pool", text(pool.name.empty() ? "(gone)" : pool.name));
  out.add("id", text(pool.pool.str()));
  std::vector<Node> blocks;
  for (const model::PortBlock& block : pool.blocks) {
    blocks.push_back(text(
        fmt::format("{} {}-{}", block.address.str(), block.first, block.first + block.length - 1)));
  }
  out.add("blocks", Node::list_of(std::move(blocks)));
  if (!pool.trouble.empty()) out.add("trouble", text(pool.trouble));
  return out;
}

/// Everything counted, by metric name; the base of both /v1/status and /metrics.
struct Counted {
  WorkerCounters worker;
  datapath::Counters datapath;
  size_t flows = 0, parked = 0;
  ConnectionCounters told;
  size_t connections = 0, unanswered = 0, held = 0, early = 0;
  std::string trouble;  ///< of keeping connections on the disk
};

Result<Counted> count(WorkerThread& thread) {
  return thread.call<Counted>([](Worker& worker) -> Result<Counted> {
    const Connections& connections = worker.connections();
    return Counted{worker.counters(),
                   worker.datapath().counters(),
                   worker.flows().size(),
                   worker.parked(),
                   connections.counters(),
                   connections.table().size(),
                   connections.table().embryonic(),
                   worker.held(),
                   worker.early(),
                   connections.trouble()};
  });
}

/// Drops by reason, those of user space and of the datapath in one list.
std::map<std::string, uint64_t> drops_of(const Counted& counted) {
  std::map<std::string, uint64_t> drops = counted.datapath.drops;
  drops.erase("by_flow");  // the worker charges these to the flows' own reasons
  for (const auto& [reason, n] : counted.worker.drops) drops[std::string(to_string(reason))] += n;
  return drops;
}

std::vector<std::pair<const char*, uint64_t>> counters_of(const Counted& c) {
  return {{"upcalls", c.worker.upcalls},
          {"upcalls_limited", c.datapath.upcalls_limited},
          {"upcalls_lost", c.datapath.upcalls_lost},
          {"flow_hits", c.datapath.flow_hits},
          {"flow_misses", c.datapath.flow_misses},
          {"flows_installed", c.worker.installed},
          {"flows_invalidated", c.worker.invalidated},
          {"flows_renewed", c.worker.renewed},
          {"flows_expired", c.worker.expired},
          {"flows_evicted", c.worker.evicted},
          {"flows_not_installed", c.worker.not_installed},
          {"packets_forwarded", c.worker.forwarded},
          {"packets_consumed", c.worker.consumed},
          {"packets_parked", c.worker.parked},
          {"packets_held", c.worker.held},
          {"fragments_followed", c.worker.fragments_followed},
          {"fragments_early", c.worker.fragments_early},
          {"connections_begun", c.told.begun},
          {"connections_taken_over", c.told.taken_over},
          {"connections_expired", c.told.expired},
          {"connections_displaced", c.told.displaced},
          {"connections_refused", c.told.refused_here},
          {"connections_refused_elsewhere", c.told.refused_elsewhere},
          {"connections_told", c.told.told},
          {"connections_told_again", c.told.told_again},
          {"connections_acknowledged", c.told.acknowledged},
          {"connections_adopted", c.told.adopted},
          {"connection_news", c.told.news},
          {"peer_messages_received", c.told.received},
          {"peer_messages_not_believed", c.told.not_believed},
          {"peer_messages_unreadable", c.told.unreadable},
          {"peer_messages_lost", c.told.messages_lost},
          {"packets_generated", c.worker.generated},
          {"fragments_made", c.worker.fragments},
          {"execute_failed", c.worker.execute_failed},
          {"datapath_repaired", c.worker.repaired},
          {"datapath_repairs_failed", c.worker.repairs_failed}};
}

ControlAnswer problem(int status, std::string_view message) {
  Node body = Node::map_of({});
  body.add("title", text(message));
  body.add("status", number(static_cast<uint64_t>(status)));
  body.add("detail", text(message));
  return {status, "application/problem+json", codec::write_json(body)};
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return 400;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::unavailable:
      return 503;
    default:
      return 500;
  }
}

}  // namespace

ControlAnswer Control::answer(std::string_view method, std::string_view path,
                              std::string_view body) {
  const bool post = path == "/v1/trace";
  static constexpr std::string_view kKnown[] = {
      "/v1/status", "/v1/ports", "/v1/flows", "/v1/connections", "/v1/rule-counters",
      "/v1/traces", "/v1/trace", "/health",   "/metrics"};
  if (std::find(std::begin(kKnown), std::end(kKnown), path) == std::end(kKnown)) {
    return problem(404,
                   "no such path; an agent has /v1/status, /v1/ports, /v1/flows, /v1/connections, "
                   "/v1/rule-counters, /v1/traces, /v1/trace, /health, /metrics");
  }
  if (method != (post ? "POST" : "GET")) {
    return problem(405, std::string(path) + " takes " + (post ? "POST" : "GET"));
  }
  if (path == "/health") {
    const bool ready = topology_.status().synced;
    return {ready ? 200 : 503, "text/plain", ready ? "ready\n" : "waiting for the topology\n"};
  }
  if (path == "/metrics") {
    auto lines = metrics();
    if (!lines) return problem(http_status(lines.error().code), lines.error().message);
    return {200, "text/plain; version=0.0.4", std::move(*lines)};
  }
  const auto made = path == "/v1/status"          ? status()
                    : path == "/v1/ports"         ? ports()
                    : path == "/v1/flows"         ? flows()
                    : path == "/v1/connections"   ? connections()
                    : path == "/v1/rule-counters" ? rule_counters()
                    : path == "/v1/traces"        ? traces()
                                                  : trace(body);
  if (!made) return problem(http_status(made.error().code), made.error().message);
  return {200, "application/json", codec::write_json(*made)};
}

Result<Node> Control::status() {
  const TopologyStatus topology = topology_.status();
  const auto counted = count(worker_);
  if (!counted) return counted.error();
  Node out = Node::map_of({});
  out.add("name", text(topology.name));
  out.add("id", text(self_.str()));
  out.add("incarnation", number(topology.incarnation));
  out.add("registered", Node::of_bool(topology.registered));
  out.add("synced", Node::of_bool(topology.synced));
  if (!topology.waiting_for.empty()) out.add("waiting_for", text(topology.waiting_for));
  out.add("machine_id", text(topology.machine_id));
  out.add("store", text(topology.store_up ? "up" : "down"));
  out.add("store_staleness_seconds", seconds(topology.store_staleness_seconds));
  out.add("topology", text(!topology.synced     ? "none yet"
                           : topology.from_disk ? "from disk snapshot, age " +
                                                      age_text(topology.snapshot_age_seconds)
                                                : "from the store"));
  out.add("closure", text(fmt::format("{} of {} records resident", topology.resident_keys,
                                      topology.watched_keys)));
  out.add("revision", text(std::to_string(topology.revision)));
  if (topology.snapshot_age_seconds >= 0) {
    out.add("snapshot_age_seconds", seconds(topology.snapshot_age_seconds));
  }
  if (topology.snapshot.written > 0) {
    out.add("snapshot_revision", text(std::to_string(topology.snapshot.revision.value)));
    out.add("snapshot_bytes", number(topology.snapshot.bytes));
  }
  if (!topology.snapshot.trouble.empty()) {
    out.add("snapshot_trouble", text(topology.snapshot.trouble));
  }
  out.add("publications_waiting", number(topology.link.waiting));
  if (!topology.link.trouble.empty()) out.add("store_trouble", text(topology.link.trouble));
  std::vector<Node> tunnels;
  for (const IpAddr& a : topology.tunnel_addresses) tunnels.push_back(text(a.str()));
  out.add("tunnel_addresses", Node::list_of(std::move(tunnels)));
  out.add("tunnel_mtu", number(topology.tunnel_mtu));
  out.add("ports_active", number(topology.ports.size()));
  out.add("ports_failed", number(topology.port_errors.size()));
  out.add("ports_passive", number(topology.passive_ports));
  out.add("moved_keys", number(topology.moved_keys));
  out.add("learned_macs", number(topology.learned_macs));
  out.add("macs_refused", number(topology.macs_refused));
  if (!topology.port_blocks.empty()) {
    std::vector<Node> pools;
    for (const auto& pool : topology.port_blocks) pools.push_back(port_blocks_of(pool));
    out.add("snat_pools", Node::list_of(std::move(pools)));
  }
  out.add("watched_keys", number(topology.watched_keys));
  out.add("received_bytes", number(topology.received_bytes));
  out.add("epoch", number(topology.epoch));
  out.add("applied_epoch", number(worker_.applied_epoch()));
  // CLOCK_MONOTONIC: comparable with what others on this machine measure.
  out.add("applied_at_ns", number(static_cast<uint64_t>(worker_.applied_at().ns)));
  out.add("flows", number(counted->flows));
  out.add("parked", number(counted->parked));
  out.add("connections", number(counted->connections));
  out.add("connections_unanswered", number(counted->unanswered));
  out.add("held", number(counted->held));
  out.add("early_fragments", number(counted->early));
  if (!counted->trouble.empty()) out.add("connections_trouble", text(counted->trouble));
  if (const std::string trouble = worker_.peer_trouble(); !trouble.empty())
    out.add("peer_trouble", text(trouble));
  Node counters = Node::map_of({});
  for (const auto& [name, value] : counters_of(*counted)) counters.add(name, number(value));
  out.add("counters", std::move(counters));
  Node drops = Node::map_of({});
  for (const auto& [reason, n] : drops_of(*counted)) drops.add(reason, number(n));
  out.add("drops", std::move(drops));
  return out;
}

Result<Node> Control::ports() {
  const TopologyStatus topology = topology_.status();
  return worker_.call<Node>([topology](Worker& worker) -> Result<Node> {
    std::vector<Node> list;
    for (const Plug& plug : topology.ports) {
      Node port = Node::map_of({});
      const model::Port* record = worker.ready() ? worker.snapshot().port(plug.port) : nullptr;
      port.add("name", text(record != nullptr ? record->name : ""));
      port.add("id", text(plug.port.str()));
      port.add("interface", text(plug.interface));
      port.add("dp_port", number(plug.dp_port().number));
      if (const auto* binding = worker.ready() ? worker.snapshot().binding(plug.port) : nullptr) {
        port.add("tunnel_key", number(binding->tunnel_key));
        port.add("generation", number(binding->generation));
      }
      if (const auto stats = worker.datapath().port_stats(plug.dp_port())) {
        port.add("rx_packets", number(stats->rx_packets));
        port.add("rx_bytes", number(stats->rx_bytes));
        port.add("tx_packets", number(stats->tx_packets));
        port.add("tx_bytes", number(stats->tx_bytes));
        port.add("drops", number(stats->drops));
        port.add("upcalls_limited", number(stats->upcalls_limited));
      }
      list.push_back(std::move(port));
    }
    std::vector<Node> failed;
    for (const auto& [id, why] : topology.port_errors) {
      Node port = Node::map_of({});
      port.add("id", text(id.str()));
      port.add("error", text(why));
      failed.push_back(std::move(port));
    }
    Node out = Node::map_of({});
    out.add("ports", Node::list_of(std::move(list)));
    out.add("failed", Node::list_of(std::move(failed)));
    return out;
  });
}

Result<Node> Control::flows() {
  return worker_.call<Node>([](Worker& worker) -> Result<Node> {
    // The datapath's own list is the truth about what is forwarded; our table says why.
    const auto all = worker.datapath().dump_flows();
    if (!all) return all.error();
    const MonoTime now = mono_now();
    std::vector<Node> list;
    for (const datapath::FlowEntry& entry : *all) {
      Node flow = Node::map_of({});
      flow.add("match", text(format(entry.flow.match)));
      flow.add("actions", text(format(entry.flow.actions)));
      if (entry.flow.actions.drops()) {
        flow.add("reason", text(to_string(worker.drop_reason(entry.flow.match))));
      }
      flow.add("packets", number(entry.stats.packets));
      flow.add("bytes", number(entry.stats.bytes));
      if (entry.stats.last_used.ns > 0) {
        const auto idle = std::max<int64_t>(0, (now - entry.stats.last_used).count() / 1'000'000);
        flow.add("idle_ms", number(static_cast<uint64_t>(idle)));
      }
      if (worker.ready() && worker.flows().find(entry.flow.match)) {
        flow.add("depends_on",
                 objects_of(worker.flows().dependencies_of(entry.flow.match), worker.snapshot()));
      }
      list.push_back(std::move(flow));
    }
    Node out = Node::map_of({});
    out.add("flows", Node::list_of(std::move(list)));
    return out;
  });
}

Result<Node> Control::connections() {
  return worker_.call<Node>([](Worker& worker) -> Result<Node> {
    if (!worker.ready()) return Error{ErrorCode::unavailable, "the agent has no topology yet"};
    return connections_document(worker.connections().table(), worker.snapshot(), mono_now());
  });
}

Result<Node> Control::traces() {
  return worker_.call<Node>(
      [](Worker& worker) -> Result<Node> { return traces_document(worker.traces(), mono_now()); });
}

Result<Node> Control::rule_counters() {
  return worker_.call<Node>([](Worker& worker) -> Result<Node> {
    if (!worker.ready()) return Error{ErrorCode::unavailable, "the agent has no topology yet"};
    return rule_counters_document(worker.rule_counters(), worker.snapshot());
  });
}

Result<Node> Control::trace(std::string_view body) {
  const auto question = parse_trace_question(body);
  if (!question) return question.error();
  return worker_.call<Node>([asked = *question](Worker& worker) -> Result<Node> {
    if (!worker.ready()) return Error{ErrorCode::unavailable, "the agent has no topology yet"};
    const auto entry = entry_of(asked, worker.snapshot());
    if (!entry) return entry.error();
    sim::Trace trace;
    const sim::Outcome outcome =
        worker.ask(entry->port, entry->tunnel_key, entry->frame, mono_now(), &trace);
    return trace_document(sim::packet_of(entry->frame, entry->port, entry->tunnel_key), outcome,
                          trace, worker.snapshot());
  });
}

Result<std::string> Control::metrics() {
  const auto counted = count(worker_);
  if (!counted) return counted.error();
  const TopologyStatus topology = topology_.status();
  std::string out;
  const auto gauge = [&](std::string_view name, uint64_t value) {
    out += fmt::format("# TYPE plexus_agent_{0} gauge\nplexus_agent_{0} {1}\n", name, value);
  };
  gauge("ports_active", topology.ports.size());
  gauge("ports_failed", topology.port_errors.size());
  gauge("flows", counted->flows);
  gauge("packets_waiting", counted->parked + counted->held + counted->early);
  gauge("connections", counted->connections);
  gauge("connections_unanswered", counted->unanswered);
  gauge("store_up", topology.store_up ? 1 : 0);
  gauge("store_staleness_seconds", static_cast<uint64_t>(topology.store_staleness_seconds));
  gauge("synced", topology.synced ? 1 : 0);
  gauge("from_disk_snapshot", topology.from_disk ? 1 : 0);
  gauge("closure_records", topology.watched_keys);
  gauge("closure_records_resident", topology.resident_keys);
  gauge("revision", static_cast<uint64_t>(topology.revision));
  gauge("epoch", topology.epoch);
  gauge("applied_epoch", worker_.applied_epoch());
  gauge("publications_waiting", topology.link.waiting);
  gauge("ports_passive", topology.passive_ports);
  gauge("moved_keys", topology.moved_keys);
  gauge("learned_macs", topology.learned_macs);
  gauge("macs_refused", topology.macs_refused);
  uint64_t leased = 0, starved = 0;
  for (const auto& pool : topology.port_blocks) {
    for (const model::PortBlock& block : pool.blocks) leased += block.length;
    if (!pool.trouble.empty()) ++starved;
  }
  gauge("snat_ports_leased", leased);
  gauge("snat_pools_in_trouble", starved);
  gauge("snapshot_revision", static_cast<uint64_t>(topology.snapshot.revision.value));
  gauge("snapshot_bytes", topology.snapshot.bytes);
  if (topology.snapshot_age_seconds >= 0) {
    gauge("snapshot_age_seconds", static_cast<uint64_t>(topology.snapshot_age_seconds));
  }
  const auto counter = [&](std::string_view name, uint64_t value) {
    out += fmt::format("# TYPE plexus_agent_{0}_total counter\nplexus_agent_{0}_total {1}\n", name,
                       value);
  };
  counter("snapshots_written", topology.snapshot.written);
  counter("snapshots_failed", topology.snapshot.failed);
  counter("neighbours_lost", topology.link.neighbours_lost);
  counter("store_received_bytes", topology.received_bytes);
  for (const auto& [name, value] : counters_of(*counted)) {
    out += fmt::format("# TYPE plexus_agent_{0}_total counter\nplexus_agent_{0}_total {1}\n", name,
                       value);
  }
  out += "# TYPE plexus_agent_drops_total counter\n";
  for (const auto& [reason, n] : drops_of(*counted)) {
    out += fmt::format("plexus_agent_drops_total{{reason=\"{}\"}} {}\n", reason, n);
  }
  return out;
}

}  // namespace plexus::agent
