// SPDX-License-Identifier: Apache-2.0
// What a host's agent says about itself, over its local socket.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/trace_expectation.h"
#include "codec/nearest.h"

namespace plexus::cli {
namespace {

using codec::Node;

/// The agents that have a socket on this machine, by host name.
std::vector<std::string> local_agents(const std::string& run_dir) {
  std::vector<std::string> out;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(run_dir, ec)) {
    if (std::filesystem::is_socket(entry.path() / "agent.sock", ec))
      out.push_back(entry.path().filename());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string run_directory() {
  const char* environment = std::getenv("PLEXUS_RUN");
  return environment != nullptr && *environment != '\0' ? environment : "/run/plexus";
}

std::string address_of(const std::string& run_dir, const std::string& host) {
  return "unix:" + run_dir + "/" + host + "/agent.sock";
}

Result<std::string> agent_address(const Invocation& in) {
  if (!in.agent.empty()) return in.agent;
  const std::string run_dir = run_directory();
  const auto address = [&](const std::string& host) { return address_of(run_dir, host); };
  const std::vector<std::string> agents = local_agents(run_dir);
  if (!in.host.empty()) {
    if (std::find(agents.begin(), agents.end(), in.host) != agents.end()) return address(in.host);
    std::string message =
        fmt::format("no agent of a host '{}' runs on this machine ({}/{}/agent.sock)", in.host,
                    run_dir, in.host);
    if (!agents.empty()) message += "; " + codec::suggestion(in.host, agents);
    return Error{ErrorCode::unavailable, message};
  }
  if (agents.size() == 1) return address(agents[0]);
  if (agents.empty()) {
    return Error{ErrorCode::unavailable,
                 fmt::format("no agent has a socket below {}; start plexus-agent, or give --agent",
                             run_dir)};
  }
  return Error{
      ErrorCode::invalid,
      fmt::format("several agents run here ({}); choose one with --host", fmt::join(agents, ", "))};
}

std::string count_of(const Node& flow, std::string_view key) {
  const Node* n = flow.find(key);
  return n != nullptr ? n->text : "0";
}

std::string idle_text(const Node& flow) {
  const Node* n = flow.find("idle_ms");
  const auto ms = n != nullptr ? codec::parse_number(n->text) : std::nullopt;
  if (!ms) return "not used yet";
  return *ms < 10'000 ? fmt::format("idle {}.{} s", *ms / 1000, *ms % 1000 / 100)
                      : fmt::format("idle {} s", *ms / 1000);
}

std::string text_of(const Node& node, std::string_view key) {
  const Node* n = node.find(key);
  return n != nullptr ? n->text : std::string();
}

/// A line for each object, with all that was read of it.
void print_reasons(const Node& flow, Terminal& terminal) {
  const Node* objects = flow.find("depends_on");
  if (objects == nullptr) {
    terminal.out << "    because of an earlier agent, which knew\n";
    return;
  }
  const Palette& c = terminal.palette;
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Node& object : objects->items) {
    const std::string id = text_of(object, "id"), name = text_of(object, "name");
    std::string what = text_of(object, "kind") + " " + c.bold(name.empty() ? "(gone)" : name);
    if (!id.empty()) what += " " + c.dim("(" + id + ")");
    const auto line =
        std::find_if(lines.begin(), lines.end(), [&](const auto& l) { return l.first == what; });
    std::string& aspects =
        line != lines.end() ? line->second : lines.emplace_back(what, std::string()).second;
    const std::string aspect = text_of(object, "aspect");
    if (!aspect.empty()) aspects += (aspects.empty() ? "" : ", ") + aspect;
  }
  terminal.out << "    because of\n";
  for (const auto& [what, aspects] : lines)
    terminal.out << "        " << what << (aspects.empty() ? "" : ": " + aspects) << "\n";
}

void print_flows(const Node& answer, bool why, Terminal& terminal) {
  const Node* flows = answer.find("flows");
  if (flows == nullptr || flows->items.empty()) {
    terminal.out << "no flows\n";
    return;
  }
  for (const Node& flow : flows->items) {
    const auto text = [&](std::string_view key) { return text_of(flow, key); };
    const Palette& c = terminal.palette;
    const std::string reason = text("reason");
    terminal.out << c.cyan(text("match")) << "\n    " << c.bold(text("actions"))
                 << (reason.empty() ? "" : " (" + reason + ")") << "   "
                 << c.dim(fmt::format("{} packets, {} bytes, {}", count_of(flow, "packets"),
                                      count_of(flow, "bytes"), idle_text(flow)))
                 << "\n";
    if (why) print_reasons(flow, terminal);
  }
  terminal.out << fmt::format("{} flow{}\n", flows->items.size(),
                              flows->items.size() == 1 ? "" : "s");
}

/// Leaves only the traces of one request, when one is named. The names of the others that have some.
std::vector<std::string> keep_request(Node& answer, const std::string& request) {
  std::vector<std::string> others;
  if (request.empty()) return others;
  for (codec::Member& member : answer.members) {
    if (member.key != "traces") continue;
    std::erase_if(member.value.items, [&](const Node& trace) {
      const std::string name = text_of(trace, "request");
      if (name == request || text_of(trace, "request_id") == request) return false;
      if (std::find(others.begin(), others.end(), name) == others.end()) others.push_back(name);
      return true;
    });
  }
  return others;
}

/// Leaves only the rules of one chain or security group, when one is named. The others that have some.
std::vector<std::string> keep_rules_of(Node& answer, const std::string& chain,
                                       const std::string& group) {
  std::vector<std::string> others;
  if (chain.empty() && group.empty()) return others;
  for (codec::Member& member : answer.members) {
    if (member.key != "rules") continue;
    std::erase_if(member.value.items, [&](const Node& rule) {
      const std::string name = text_of(rule, "name"), in = text_of(rule, "in");
      if (name == (in == "chain" ? chain : group)) return false;
      std::string other = in + " " + name;
      if (std::find(others.begin(), others.end(), other) == others.end())
        others.push_back(std::move(other));
      return true;
    });
  }
  return others;
}

void print_rule_counters(const Node& answer, const std::vector<std::string>& others,
                         Terminal& terminal) {
  const Node* rules = answer.find("rules");
  if (rules != nullptr && !rules->items.empty()) {
    terminal.out << readable(answer, terminal.width);
  } else if (others.empty()) {
    terminal.out << "no rule has held for a packet\n";
  } else {
    terminal.out << fmt::format("no rule of it has held for a packet; there are some of: {}\n",
                                fmt::join(others, ", "));
  }
}

void print_traces(const Node& answer, const std::vector<std::string>& others, Terminal& terminal) {
  const Node* traces = answer.find("traces");
  if (traces == nullptr || traces->items.empty()) {
    terminal.out << "no traces";
    if (!others.empty())
      terminal.out << fmt::format(" of it; there are some of: {}", fmt::join(others, ", "));
    terminal.out << "\n";
    return;
  }
  const Palette& c = terminal.palette;
  for (const Node& trace : traces->items) {
    const Node* age = trace.find("age_ms");
    const auto ms = age != nullptr ? codec::parse_number(age->text) : std::nullopt;
    terminal.out << c.bold(text_of(trace, "request")) << " #" << text_of(trace, "number") << ", "
                 << ms.value_or(0) / 1000 << " s ago: " << c.cyan(text_of(trace, "outcome"))
                 << "\n";
    if (const Node* steps = trace.find("steps"))
      for (const Node& step : steps->items) terminal.out << "    " << step.text << "\n";
  }
}

void print_connections(const Node& answer, Terminal& terminal) {
  const Node* connections = answer.find("connections");
  if (connections == nullptr || connections->items.empty()) {
    terminal.out << "no connections\n";
    return;
  }
  const Palette& c = terminal.palette;
  for (const Node& connection : connections->items) {
    const auto text = [&](std::string_view key) { return text_of(connection, key); };
    terminal.out << c.cyan(text("tuple")) << "  " << c.bold(text("state")) << "  "
                 << c.dim(fmt::format("{} to {}, {}", text("port"), text("reply_port"),
                                      idle_text(connection)))
                 << "\n";
    const Node* translations = connection.find("translations");
    if (translations == nullptr) continue;
    for (const Node& stage : translations->items) {
      const std::string at = text_of(stage, "at");
      terminal.out << "    " << text_of(stage, "kind") << (at.empty() ? "" : " at " + at) << ": "
                   << text_of(stage, "becomes") << "\n";
    }
  }
  const std::string total = text_of(answer, "total");
  const size_t listed = connections->items.size();
  terminal.out << total << (total == "1" ? " connection" : " connections");
  if (total != std::to_string(listed)) terminal.out << ", " << listed << " of them listed";
  terminal.out << "\n";
}

/// The id of the port that is plugged in by an interface.
Result<std::string> port_at(ApiClient& agent, const std::string& interface) {
  const auto answer = agent.call("GET", "/v1/ports");
  if (!answer) return answer.error();
  std::vector<std::string> known;
  if (const Node* ports = answer->find("ports")) {
    for (const Node& port : ports->items) {
      const Node *name = port.find("interface"), *id = port.find("id");
      if (name == nullptr || id == nullptr) continue;
      if (name->text == interface) return id->text;
      known.push_back(name->text);
    }
  }
  std::string message = "no port is plugged in by the interface " + codec::in_quotes(interface);
  if (!known.empty()) message += "; " + codec::suggestion(interface, known);
  return Error{ErrorCode::not_found, message};
}

Result<Node> trace(ApiClient& agent, const Invocation& in) {
  Node body = Node::map_of({});
  if (in.tunnel_key) {
    body.add("tunnel_key", Node::of_number(*in.tunnel_key));
  } else if (!in.port.empty()) {
    body.add("port", Node::of_text(in.port));
  } else {
    auto id = port_at(agent, in.interface);
    if (!id) return id.error();
    body.add("port", Node::of_text(*id));
  }
  body.add("packet", Node::of_text(in.packet));
  return agent.call("POST", "/v1/trace", &body);
}

/// What becomes of the copies that leave by tunnel, at the hosts whose agents run here too. Those that were asked and did not
/// answer, with why.
std::vector<std::pair<std::string, std::string>> follow_tunnels(const Invocation& in,
                                                                std::vector<Hop>& hops) {
  constexpr size_t kMaxHops = 64;
  std::vector<std::pair<std::string, std::string>> silent;
  const Node* outputs = hops.front().trace.find("outputs");
  if (outputs == nullptr) return silent;
  const std::string run_dir = run_directory();
  const std::vector<std::string> agents = local_agents(run_dir);
  const std::vector<Node> copies = outputs->items;  // hops move when one is added
  for (const Node& output : copies) {
    const std::string host = text_of(output, "host");
    const Node* key = output.find("tunnel_key");
    const Node* packet = output.find("packet");
    if (key == nullptr || packet == nullptr || hops.size() >= kMaxHops ||
        std::find(agents.begin(), agents.end(), host) == agents.end())
      continue;
    auto http = HttpClient::to(address_of(run_dir, host));
    if (!http) continue;
    (*http)->set_timeout(in.timeout);
    ApiClient agent(**http);
    Node body = Node::map_of({});
    body.add("tunnel_key", *key);
    body.add("packet", *packet);
    // When it does not answer, the first host has decided all the same.
    if (auto answer = agent.call("POST", "/v1/trace", &body)) {
      hops.push_back({host, std::move(*answer), output.find("mirror") != nullptr});
    } else if (std::none_of(silent.begin(), silent.end(),
                            [&](const auto& s) { return s.first == host; })) {
      const std::string& why = answer.error().message;
      silent.emplace_back(host, why.find("gave no answer within") != std::string::npos
                                    ? fmt::format("no answer within {} s", in.timeout.count())
                                    : why);
    }
  }
  return silent;
}

Node judgement_document(const Judgement& judgement) {
  Node out = Node::map_of({});
  out.add("met", Node::of_bool(judgement.met));
  out.add("found", Node::of_text(judgement.found));
  if (!judgement.stage.empty()) out.add("stage", Node::of_text(judgement.stage));
  if (!judgement.change.empty()) out.add("change", Node::of_text(judgement.change));
  return out;
}

void print_trace(const Node& trace, Terminal& terminal) {
  const std::string text = text_of(trace, "text");
  terminal.out << text;
  if (text.empty() || text.back() != '\n') terminal.out << "\n";
}

int show_trace(const Invocation& in, Node answer, Terminal& terminal) {
  std::vector<Hop> hops = {{"", answer}};
  // Who names an agent by its address may mean one on another machine, whose neighbours are not ours.
  std::vector<std::pair<std::string, std::string>> silent;
  if (in.agent.empty()) silent = follow_tunnels(in, hops);
  std::optional<Judgement> judgement;
  if (in.expect) judgement = judge(*in.expect, hops);
  if (in.output == Output::json || in.output == Output::yaml) {
    std::vector<Node> further;
    for (size_t i = 1; i < hops.size(); ++i) {
      Node hop = Node::map_of({});
      hop.add("host", Node::of_text(hops[i].host));
      if (hops[i].mirror) hop.add("mirror", Node::of_bool(true));
      hop.add("trace", hops[i].trace);
      further.push_back(std::move(hop));
    }
    if (!further.empty()) answer.add("hops", Node::list_of(std::move(further)));
    std::vector<Node> unanswered;
    for (const auto& [host, why] : silent) unanswered.push_back(Node::of_text(host));
    if (!unanswered.empty()) answer.add("unanswered", Node::list_of(std::move(unanswered)));
    if (judgement) answer.add("expected", judgement_document(*judgement));
    print_document(answer, in.output, terminal);
  } else {
    for (const Hop& hop : hops) {
      if (!hop.host.empty())
        terminal.out << "at host " << hop.host << (hop.mirror ? ", for a mirror:\n" : ":\n");
      print_trace(hop.trace, terminal);
    }
    for (const auto& [host, why] : silent) terminal.out << "host " << host << ": " << why << "\n";
    if (judgement) {
      const Palette& c = terminal.palette;
      terminal.out << (judgement->met ? "as expected: " : "not as expected: ")
                   << c.bold(judgement->found) << "\n";
      if (!judgement->stage.empty()) terminal.out << "    because of " << judgement->stage << "\n";
      if (!judgement->change.empty())
        terminal.out << "    what would help: " << judgement->change << "\n";
    }
  }
  return judgement && !judgement->met ? kUnmet : kOk;
}

}  // namespace

int run_agent(const Invocation& in, Terminal& terminal) {
  const auto address = agent_address(in);
  if (!address) {
    const int status = fail(address.error(), terminal);
    return address.error().code == ErrorCode::invalid ? kUsage : status;
  }
  auto http = HttpClient::to(*address);
  if (!http) return misused(http.error(), terminal);
  (*http)->set_timeout(in.timeout);
  ApiClient agent(**http);
  auto answer = in.verb == Verb::trace
                    ? trace(agent, in)
                    : agent.call("GET", in.verb == Verb::flows           ? "/v1/flows"
                                        : in.verb == Verb::connections   ? "/v1/connections"
                                        : in.verb == Verb::rule_counters ? "/v1/rule-counters"
                                        : in.verb == Verb::traces        ? "/v1/traces"
                                        : in.verb == Verb::agent_ports   ? "/v1/ports"
                                                                         : "/v1/status");
  if (!answer) return fail(answer.error(), terminal);
  if (in.verb == Verb::trace) return show_trace(in, std::move(*answer), terminal);
  std::vector<std::string> others;
  if (in.verb == Verb::rule_counters) others = keep_rules_of(*answer, in.chain, in.security_group);
  if (in.verb == Verb::traces) others = keep_request(*answer, in.request);
  if (in.output == Output::json || in.output == Output::yaml) {
    print_document(*answer, in.output, terminal);
  } else if (in.verb == Verb::flows) {
    print_flows(*answer, in.why, terminal);
  } else if (in.verb == Verb::connections) {
    print_connections(*answer, terminal);
  } else if (in.verb == Verb::rule_counters) {
    print_rule_counters(*answer, others, terminal);
  } else if (in.verb == Verb::traces) {
    print_traces(*answer, others, terminal);
  } else {
    terminal.out << readable(*answer, terminal.width);
  }
  return kOk;
}

}  // namespace plexus::cli
