// SPDX-License-Identifier: Apache-2.0
#include "sim/trace.h"

namespace plexus::sim {

std::string_view to_string(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::packet:
      return "packet";
    case DeviceKind::port:
      return "port";
    case DeviceKind::bridge:
      return "bridge";
    case DeviceKind::router:
      return "router";
    case DeviceKind::route:
      return "route";
    case DeviceKind::host:
      return "host";
    case DeviceKind::tunnel_key:
      return "tunnel key";
    case DeviceKind::outcome:
      return "outcome";
    case DeviceKind::chain:
      return "chain";
    case DeviceKind::rule:
      return "rule";
    case DeviceKind::security_group:
      return "security group";
    case DeviceKind::mirror:
      return "mirror";
    case DeviceKind::trace_request:
      return "trace request";
    case DeviceKind::floating_ip:
      return "floating ip";
    case DeviceKind::snat_pool:
      return "snat pool";
    case DeviceKind::vip:
      return "vip";
    case DeviceKind::pool_member:
      return "pool member";
  }
  return "unknown";
}

std::string Trace::text() const {
  std::string out;
  for (const TraceStep& step : steps_) {
    out.append(size_t{step.depth} * 2, ' ');
    out += to_string(step.kind);
    if (!step.name.empty()) out += " " + step.name;
    if (!step.id.is_nil()) out += " (" + step.id.str().substr(0, 8) + ")";
    out += ": " + step.text + "\n";
  }
  return out;
}

}  // namespace plexus::sim
