// SPDX-License-Identifier: Apache-2.0
// What the API server says about the whole: topology, wait, audit, whoami.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "cli/commands.h"
#include "cli/topology_view.h"
#include "cli/waiting.h"
#include "codec/json.h"

namespace plexus::cli {
namespace {

using codec::Node;

bool is_document(Output output) {
  return output == Output::json || output == Output::yaml;
}

/// "2026-11-25 19:15:54" of milliseconds since 1970, in UTC; other texts as they are.
std::string time_text(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos ||
      text.size() > 15) {
    return text;
  }
  const std::time_t seconds = std::stoll(text) / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string first_of(const Node& node, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    std::string text = text_of(node, key);
    if (!text.empty()) return text;
  }
  return {};
}

/// One row for each change of an entry of the log.
void add_rows(const Node& entry, std::vector<Row>& rows) {
  const std::string time = time_text(first_of(entry, {"time", "time_ms"}));
  const std::string who = text_of(entry, "who");
  const std::string revision = first_of(entry, {"revision", "id"});
  const Node* changes = entry.find("changes");
  if (changes == nullptr) return;
  for (const Node& c : changes->items) {
    const std::string name = first_of(c, {"name", "id"});
    std::string fields = fmt::format("{}", fmt::join(texts_of(c, "fields"), " "));
    rows.push_back({time, who, text_of(c, "verb"), first_of(c, {"type", "collection"}), name,
                    text_of(c, "tenant"), std::move(fields), revision});
  }
}

}  // namespace

int run_topology(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
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
    auto items = api.items(path);
    // A tenant's token shows its own things only; hosts are nobody's.
    const bool may_be_closed = list == &t.hosts || list == &t.host_states;
    if (!items && may_be_closed && items.error().code == ErrorCode::denied) continue;
    if (!items) return fail(items.error(), terminal);
    *list = std::move(*items);
    std::stable_sort(list->begin(), list->end(), [](const Node& a, const Node& b) {
      return text_of(a, "name") < text_of(b, "name");
    });
    if (is_document(invocation.output)) all.add(path, Node::list_of(*list));
  }
  if (is_document(invocation.output)) {
    print_document(all, invocation.output, terminal);
  } else {
    terminal.out << draw_topology(t, terminal.palette);
  }
  return kOk;
}

int run_wait(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  if (!is_document(invocation.output))
    return wait_and_say(api, invocation.revision, invocation, terminal);
  const auto answer = wait_for_hosts(api, invocation.revision, invocation.timeout);
  if (!answer) return fail(answer.error(), terminal);
  const auto list = [](const std::vector<std::string>& names) {
    Node out = Node::list_of({});
    for (const std::string& n : names) out.items.push_back(Node::of_text(n));
    return out;
  };
  Node out = Node::map_of({});
  out.add("revision", Node::of_text(answer->revision));
  out.add("converged", Node::of_bool(answer->converged));
  out.add("hosts", Node::of_number(answer->hosts));
  out.add("applied", Node::of_number(answer->applied));
  out.add("laggards", list(answer->laggards));
  out.add("unknown", list(answer->unknown));
  print_document(out, invocation.output, terminal);
  return answer->converged ? kOk : kTimeout;
}

int run_audit(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  Query query;
  if (!invocation.since.empty()) query.emplace_back("since", invocation.since);
  if (invocation.count > 0) query.emplace_back("limit", std::to_string(invocation.count));
  const auto answer = api.call("GET", "/v1/audit" + query_text(query));
  if (!answer) return fail(answer.error(), terminal);
  if (is_document(invocation.output)) {
    print_document(*answer, invocation.output, terminal);
    return kOk;
  }
  std::vector<Row> rows;
  if (const Node* items = answer->find("items")) {
    for (const Node& entry : items->items) add_rows(entry, rows);
  }
  if (rows.empty() && !invocation.quiet) terminal.err << "no changes\n";
  terminal.out << table({"time", "who", "did", "type", "name", "tenant", "fields", "revision"},
                        rows, terminal.width);
  return kOk;
}

int run_whoami(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  const auto answer = api.call("GET", "/v1/whoami");
  if (!answer) return fail(answer.error(), terminal);
  if (is_document(invocation.output)) {
    print_document(*answer, invocation.output, terminal);
  } else if (invocation.output == Output::name) {
    terminal.out << text_of(*answer, "who") << "\n";
  } else {
    terminal.out << readable(*answer, terminal.width);
  }
  return kOk;
}

}  // namespace plexus::cli
