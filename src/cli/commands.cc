// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include "cli/api_client.h"
#include "cli/topology_view.h"
#include "codec/json.h"
#include "codec/yaml.h"

namespace plexus::cli {

using codec::Node;

int run(const Invocation& invocation, Terminal& terminal) {
  switch (invocation.verb) {
    case Verb::create:
    case Verb::list:
    case Verb::show:
    case Verb::update:
    case Verb::remove:
      return run_resource(invocation, terminal);
    case Verb::apply:
    case Verb::delete_file:
      return run_file(invocation, terminal);
    case Verb::topology:
      return run_topology(invocation, terminal);
    case Verb::agent_status:
    case Verb::agent_ports:
    case Verb::flows:
    case Verb::trace:
      return run_agent(invocation, terminal);
  }
  return kFailed;
}

int fail(const Error& error, Terminal& terminal) {
  terminal.err << "plexus: " << error.message << "\n";
  if (error.code == ErrorCode::unavailable) return kUnreachable;
  // The client reports "no answer in time" with these words; nothing else of it is `internal`.
  if (error.code == ErrorCode::internal &&
      error.message.find("gave no answer within") != std::string::npos) {
    return kTimeout;
  }
  return kFailed;
}

void print_document(const Node& node, Output output, Terminal& terminal) {
  if (output == Output::yaml) {
    terminal.out << codec::write_yaml(node);
  } else {
    terminal.out << codec::write_json(node, codec::JsonStyle::pretty) << "\n";
  }
}

int run_topology(const Invocation& invocation, Terminal& terminal) {
  auto http = HttpClient::to(invocation.api);
  if (!http) return fail(http.error(), terminal);
  (*http)->set_timeout(invocation.timeout);
  ApiClient api(**http);
  TopologyDocuments t;
  const std::pair<const char*, std::vector<Node>*> parts[] = {
      {"hosts", &t.hosts},
      {"bridges", &t.bridges},
      {"routers", &t.routers},
      {"ports", &t.ports},
      {"routes", &t.routes},
      {"status/bindings", &t.bindings},
      {"status/hosts", &t.host_states},
  };
  Node all = Node::map_of({});
  for (const auto& [path, list] : parts) {
    auto answer = api.call("GET", std::string("/v1/") + path);
    if (!answer) return fail(answer.error(), terminal);
    for (codec::Member& m : answer->members) {
      if (m.key == "items") *list = m.value.items;
    }
    if (invocation.output != Output::text) all.add(path, Node::list_of(*list));
  }
  if (invocation.output != Output::text) {
    print_document(all, invocation.output, terminal);
  } else {
    terminal.out << draw_topology(t, terminal.palette);
  }
  return kOk;
}

}  // namespace plexus::cli
