// SPDX-License-Identifier: Apache-2.0
#include "agent/trace_question.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "codec/json.h"
#include "packet/text.h"

namespace plexus::agent {

using codec::Node;

namespace {

/// Names are of tenants: the port without one, or the only one, is meant.
Result<const model::Port*> port_named(const model::Snapshot& snapshot, const std::string& name) {
  const Error not_known{ErrorCode::not_found, "port '" + name + "' is not in this host's topology"};
  if (const auto id = Uuid::parse(name)) {
    const model::Port* port = snapshot.port(PortId{*id});
    if (port == nullptr) return not_known;
    return port;
  }
  std::vector<const model::Port*> found;
  snapshot.each_port([&](const model::Port& port) {
    if (port.name == name) found.push_back(&port);
  });
  if (found.empty()) return not_known;
  const auto own = [](const model::Port* port) { return port->tenant.empty(); };
  if (std::count_if(found.begin(), found.end(), own) == 1)
    return *std::find_if(found.begin(), found.end(), own);
  if (found.size() == 1) return found.front();
  std::sort(found.begin(), found.end(), [](const auto* a, const auto* b) {
    return a->tenant < b->tenant || (a->tenant == b->tenant && a->id < b->id);
  });
  std::string several;
  for (const model::Port* port : found)
    several += fmt::format("{}{}{}", several.empty() ? "" : ", ", port->id.str(),
                           port->tenant.empty() ? "" : " of tenant " + port->tenant);
  return Error{ErrorCode::invalid,
               "port '" + name + "' is each of these, name one by its id: " + several};
}

}  // namespace

Result<TraceQuestion> parse_trace_question(std::string_view body) {
  codec::Problems problems;
  const Node request = codec::parse_json(body, problems);
  if (!problems.empty()) return codec::to_error(problems);
  const Node* packet = request.find("packet");
  const Node* port = request.find("port");
  const Node* key = request.find("tunnel_key");
  if (packet == nullptr || (port == nullptr) == (key == nullptr)) {
    return Error{ErrorCode::invalid,
                 "a trace needs \"packet\" (text) and either \"port\" (a port plugged in here) or "
                 "\"tunnel_key\""};
  }
  TraceQuestion out;
  if (port != nullptr) {
    out.port = port->text;
  } else {
    const char* const end = key->text.data() + key->text.size();
    const auto [read, ec] = std::from_chars(key->text.data(), end, out.tunnel_key);
    if (ec != std::errc{} || read != end || out.tunnel_key >= 1u << 24) {
      return Error{ErrorCode::invalid,
                   "tunnel_key: '" + key->text + "' is not a number below 16777216"};
    }
  }
  auto frame = parse_frame(packet->text);
  if (!frame) return frame.error().in("packet");
  out.frame = std::move(*frame);
  return out;
}

Result<TraceEntry> entry_of(const TraceQuestion& question, const model::Snapshot& snapshot) {
  if (!question.port) return TraceEntry{kTunnelPort, question.tunnel_key, question.frame};
  const auto port = port_named(snapshot, *question.port);
  if (!port) return port.error();
  const model::Port& found = **port;
  if (found.parent) {
    const auto parent = snapshot.dp_port(*found.parent);
    if (!parent || !snapshot.is_here(found.id)) {
      return Error{ErrorCode::not_found,
                   "port '" + *question.port +
                       "' is a sub-port: it is not bound to this host, or the interface of its "
                       "parent is not here; ask the host it is bound to"};
    }
    return TraceEntry{*parent, 0, with_vlan(question.frame, found.vlan)};
  }
  const auto here = snapshot.dp_port(found.id);
  if (!here) {
    return Error{ErrorCode::not_found, "port '" + *question.port +
                                           "' is not plugged in on this host; ask the host it is "
                                           "bound to"};
  }
  return TraceEntry{*here, 0, question.frame};
}

}  // namespace plexus::agent
