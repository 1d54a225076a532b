// SPDX-License-Identifier: Apache-2.0
// Control: what an agent answers on its local socket. Operators ask it by `plexus agent ...`, `plexus trace` and
// `plexus flows`; probes by /health and /metrics. Read only: nothing here changes forwarding.
//
//   GET  /v1/status   who this is, how far it got, counters
//   GET  /v1/ports    the ports plugged in here, with statistics
//   GET  /v1/flows    what the kernel forwards by, with statistics, and the objects that each flow depends on
//   GET  /v1/connections  what is known of connections (connection_document.h)
//   GET  /v1/rule-counters  packets of rules (rule_counters.h)
//   GET  /v1/traces   packets that trace requests asked for (packet_traces.h)
//   POST /v1/trace    {"port": name or id of a port here (of a sub-port: untagged), "packet": text in the packet syntax}
//                     or {"tunnel_key": number, "packet": text}; explain.h says what comes back
//   GET  /health      200 when the topology is there, 503 before
//   GET  /metrics     Prometheus text
#pragma once

#include <string>
#include <string_view>

#include "agent/topology_thread.h"
#include "agent/worker_thread.h"
#include "codec/node.h"

namespace plexus::agent {

struct ControlAnswer {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

class Control {
 public:
  Control(HostId self, TopologyThread& topology, WorkerThread& worker)
      : self_(self), topology_(topology), worker_(worker) {}

  /// Any thread; waits for the worker where it must.
  [[nodiscard]] ControlAnswer answer(std::string_view method, std::string_view path,
                                     std::string_view body);

 private:
  [[nodiscard]] Result<codec::Node> status();
  [[nodiscard]] Result<codec::Node> ports();
  [[nodiscard]] Result<codec::Node> flows();
  [[nodiscard]] Result<codec::Node> connections();
  [[nodiscard]] Result<codec::Node> traces();
  [[nodiscard]] Result<codec::Node> rule_counters();
  [[nodiscard]] Result<codec::Node> trace(std::string_view body);
  [[nodiscard]] Result<std::string> metrics();

  const HostId self_;
  TopologyThread& topology_;
  WorkerThread& worker_;
};

}  // namespace plexus::agent
