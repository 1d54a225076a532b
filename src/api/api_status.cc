// SPDX-License-Identifier: Apache-2.0
// What is not configuration: changes as they happen, who did what, how far hosts are, what they report; health.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/answers.h"
#include "api/api.h"
#include "codec/encode.h"
#include "codec/json.h"
#include "codec/nearest.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/identity.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::api {

using codec::Node;
using codec::ResourceSpec;

namespace {

constexpr std::string_view kStatusKinds[] = {"bindings", "hosts"};
constexpr uint32_t kLongestWait = 60, kNormalWait = 10;
constexpr uint32_t kMaxAudit = 1000, kNormalAudit = 100;

std::string_view verb_name(v1::LogVerb verb) {
  return verb == v1::CREATED ? "created" : verb == v1::DELETED ? "deleted" : "updated";
}

/// "2026-11-25T19:42:36.228Z"
std::string time_text(uint64_t milliseconds) {
  const auto seconds = static_cast<time_t>(milliseconds / 1000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     milliseconds % 1000);
}

Node texts(const std::vector<std::string>& all) {
  Node out = Node::list_of({});
  for (const std::string& text : all) out.items.push_back(Node::of_text(text));
  return out;
}

/// The changes asked for are not kept any more.
Response lost(const Error& error) {
  return error.code == ErrorCode::not_found ? problem(410, error.message)
         : error.code == ErrorCode::invalid ? problem(400, error.message)
                                            : failure(error);
}

/// `what`: "watch streams". `remedy`: what to do in place of another one.
Response has_all_places(const Caller& caller, std::string_view what, std::string_view remedy) {
  Response r = problem(429, fmt::format("{} has {} {} at this server, and no more may be; {}",
                                        caller.limited() ? "tenant " + caller.tenant : caller.who,
                                        Places::kEach, what, remedy));
  r.headers.emplace_back("Retry-After", "5");
  return r;
}

}  // namespace

Response Api::watch(const Call& call) {
  const Request& request = call.request;
  if (auto bad = unknown_parameter(request, {"since", "collection"})) return std::move(*bad);
  ChangeFeed::Wanted wanted;
  std::string list = request.parameter("collection").value_or("");
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string name = list.substr(0, comma);
    list = comma == std::string::npos ? std::string() : list.substr(comma + 1);
    const ResourceSpec* resource = codec::find_collection(name);
    if (resource == nullptr) {
      return problem(400, fmt::format("unknown collection {}; {}", codec::in_quotes(name),
                                      codec::suggestion(name, codec::collection_names())));
    }
    if (call.caller.limited() && !belongs_to_tenants(*resource)) {
      return forbidden(resource->collection +
                       " are for administrators; use a token with role admin");
    }
    wanted.types.insert(resource->singular);
  }
  wanted.tenant = call.caller.tenant;
  if (!call.caller.token.is_nil())
    wanted.allowed = [this, caller = call.caller] { return good(caller); };
  auto since = request.parameter("since");
  // A browser's or a library's own way to go on.
  if (!since && !request.last_event_id.empty()) since = request.last_event_id;
  auto place = streams_.take(call.caller);
  if (!place) {
    return has_all_places(call.caller, "watch streams",
                          "close some, or watch several collections by one stream");
  }
  auto stream = feed_.open(std::move(wanted), since);
  if (!stream) return lost(stream.error());
  Response r;
  r.content_type = "text/event-stream";
  r.headers.emplace_back("Cache-Control", "no-store");
  r.stream = std::move(*stream);
  r.place = std::move(*place);
  return r;
}

Response Api::audit(const Call& call) {
  if (!call.caller.is_admin())
    return forbidden("the audit log is for administrators; use a token with role admin");
  const Request& request = call.request;
  if (auto bad = unknown_parameter(request, {"since", "limit"})) return std::move(*bad);
  const auto limit = number_parameter(request, "limit", kNormalAudit, kMaxAudit);
  if (!limit) return problem(400, limit.error().message);
  const auto since = request.parameter("since");
  auto entries = feed_.entries(since, size_t{*limit} + (since ? 1 : 0));
  if (!entries) return lost(entries.error());
  const bool more = entries->size() > *limit;
  if (more) entries->pop_back();
  Node items = Node::list_of({});
  for (const auto& e : *entries) {
    Node item = Node::map_of({});
    item.add("revision", Node::of_text(feed_.token(e->revision)));
    item.add("time", Node::of_text(time_text(e->entry.time_ms())));
    item.add("who", Node::of_text(e->entry.who()));
    item.add("request", Node::of_text(e->entry.request()));
    Node changes = Node::list_of({});
    for (const v1::LogChange& c : e->entry.changes()) {
      const ResourceSpec* type = codec::find_singular(c.type());
      Node change = Node::map_of({});
      change.add("verb", Node::of_text(verb_name(c.verb())));
      change.add("collection", Node::of_text(type != nullptr ? type->collection : c.type()));
      change.add("id", Node::of_text(Uuid::from_bytes(c.id()).value_or(Uuid{}).str()));
      if (c.has_name()) change.add("name", Node::of_text(c.name()));
      if (c.has_tenant()) change.add("tenant", Node::of_text(c.tenant()));
      if (c.fields_size() > 0) change.add("fields", texts({c.fields().begin(), c.fields().end()}));
      changes.items.push_back(std::move(change));
    }
    item.add("changes", std::move(changes));
    items.items.push_back(std::move(item));
  }
  Node out = Node::map_of({});
  out.add("items", std::move(items));
  if (more) out.add("next", Node::of_text(feed_.token(entries->back()->revision)));
  return json_answer(200, out);
}

Response Api::whoami(const Call& call) {
  Node out = Node::map_of({});
  out.add("role", Node::of_text(call.caller.role_name()));
  if (call.caller.limited()) out.add("tenant", Node::of_text(call.caller.tenant));
  out.add("who", Node::of_text(call.caller.who));
  return json_answer(200, out);
}

void Api::convergence(const Call& call, const Answer& answer) {
  const Request& request = call.request;
  if (auto bad = unknown_parameter(request, {"revision", "timeout"}))
    return answer(std::move(*bad));
  const auto seconds = number_parameter(request, "timeout", kNormalWait, kLongestWait);
  if (!seconds) return answer(problem(400, seconds.error().message));
  auto place = waits_.take(call.caller);
  if (!place) {
    return answer(has_all_places(call.caller, "waits for hosts",
                                 "let some end first; a wait counts until it is answered"));
  }
  const auto now = store_.sync();
  if (!now) return answer(failure(now.error()));
  store::Revision revision = *now;
  if (const auto token = request.parameter("revision")) {
    const auto at = feed_.place(*token);
    if (!at) return answer(problem(400, at.error().message));
    if (at->foreign || at->revision > *now) {
      return answer(
          problem(410, "this revision is of another store, or of this one before it was restored"));
    }
    revision = at->revision;
  }
  // Who the hosts are is not a tenant's business; how many have it, is.
  const bool names = !call.caller.limited();
  convergence_.wait(
      revision, std::chrono::seconds(*seconds),
      [this, names, answer, place = std::move(*place)](Result<Progress> progress) {
        if (!progress) return answer(failure(progress.error()));
        Node out = Node::map_of({});
        out.add("revision", Node::of_text(feed_.token(progress->revision)));
        out.add("converged", Node::of_bool(progress->converged()));
        out.add("hosts", Node::of_number(progress->hosts));
        out.add("applied", Node::of_number(progress->applied));
        out.add("laggards", texts(names ? progress->laggards : std::vector<std::string>()));
        out.add("unknown", texts(names ? progress->unknown : std::vector<std::string>()));
        Response r = json_answer(200, out);
        r.place = place;
        answer(std::move(r));
      });
}

Response Api::status(const Call& call, const std::string& kind) {
  if (call.request.method != "GET") return not_allowed(call.request, "GET");
  if (std::find(std::begin(kStatusKinds), std::end(kStatusKinds), kind) == std::end(kStatusKinds)) {
    return problem(404, fmt::format("unknown status {}; there are {}", codec::in_quotes(kind),
                                    fmt::join(kStatusKinds, " and ")));
  }
  const bool hosts = kind == "hosts";
  if (hosts && call.caller.limited())
    return forbidden("hosts are for administrators; use a token with role admin");
  const auto records = store_.scan(std::string(store::kRoot) + (hosts ? "/h" : "/b"));
  if (!records) return failure(records.error());
  std::set<std::string> paths;
  for (const auto& [path, record] : *records) paths.insert(path);
  // A tenant sees where its own ports are.
  std::set<Uuid> own;
  if (call.caller.limited()) {
    auto ports = store::TopologyWriter(store_).list(*v1::Port::descriptor());
    if (!ports) return failure(ports.error());
    for (const store::StoredResource& port : *ports) {
      if (store::tenant_of(*port.message) == call.caller.tenant)
        own.insert(store::id_of(*port.message));
    }
  }
  v1::HostState host;
  v1::Binding binding;
  google::protobuf::Message& message = hosts ? static_cast<google::protobuf::Message&>(host)
                                             : static_cast<google::protobuf::Message&>(binding);
  Node items = Node::list_of({});
  for (const auto& [path, record] : *records) {
    const size_t depth = static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
    // Below a host lie indexes: /p1/h/<host>/p/...
    if (hosts && depth != 3) continue;
    if (!message.ParseFromString(record.value)) continue;
    // The record of a port whose host has not written it yet.
    if (!hosts && !binding.has_host()) continue;
    if (call.caller.limited() && !own.contains(Uuid::from_bytes(binding.port()).value_or(Uuid{}))) {
      continue;
    }
    Node item = codec::encode(message);
    if (hosts) {
      if (item.find("id") == nullptr)
        item.add("id", Node::of_text(path.substr(path.rfind('/') + 1)));
      item.add("live", Node::of_bool(paths.contains(path + "/live")));
    }
    items.items.push_back(std::move(item));
  }
  Node out = Node::map_of({});
  out.add("items", std::move(items));
  return json_answer(200, out);
}

Response Api::credentials(const Call& call, const std::string& id_or_name) {
  const ResourceSpec& hosts = *codec::find_collection("hosts");
  const auto found = look_up(call, hosts, id_or_name);
  if (!found) return failure(found.error());
  if (options_.identity.empty()) {
    return problem(409,
                   "this server was started without an identity, so its store asks nobody who they "
                   "are; hosts need no credentials");
  }
  auto identity = store::host_identity(options_.identity, HostId{store::id_of(*found->message)});
  if (!identity) return problem(500, "the identity of this server is not one of an API server");
  Node out = Node::map_of({});
  out.add("identity", Node::of_text(*identity));
  Response r = json_answer(200, out);
  r.headers.emplace_back("Cache-Control", "no-store");
  return r;
}

Response Api::health() {
  const bool up = store_.health() == store::Health::up;
  Node out = Node::map_of({});
  out.add("status", Node::of_text(up ? "up" : "down"));
  out.add("store", Node::of_text(store_.kind()));
  return json_answer(up ? 200 : 503, out);
}

Response Api::metrics() {
  const ChangeFeed::Figures feed = feed_.figures();
  Response r;
  r.content_type = "text/plain; version=0.0.4";
  r.body = metrics_.text();
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    r.body += metric(name, "gauge", help, value);
  };
  const auto counter = [&](std::string_view name, std::string_view help, double value) {
    r.body += metric(name, "counter", help, value);
  };
  gauge("plexus_api_store_up", "1 while the store answers.",
        store_.health() == store::Health::up ? 1 : 0);
  gauge("plexus_api_store_revision", "Everything up to this revision is known.",
        static_cast<double>(feed.revision.value));
  gauge("plexus_api_log_next", "Number of the next entry of the change log.", feed.next);
  gauge("plexus_api_log_entries", "Entries of the change log in memory.",
        static_cast<double>(feed.entries));
  gauge("plexus_api_streams", "Watch streams that are open.", static_cast<double>(feed.streams));
  counter("plexus_api_stream_events_total", "Changes sent to watch streams.",
          static_cast<double>(feed.events));
  counter("plexus_api_streams_cut_off_total", "Watch streams ended because their client was slow.",
          static_cast<double>(feed.cut_off));
  gauge("plexus_api_convergence_waiters", "Requests that wait for hosts.",
        static_cast<double>(convergence_.waiting()));
  counter("plexus_api_convergence_barriers_total", "Questions put to all hosts.",
          static_cast<double>(convergence_.barriers()));
  if (options_.connections) {
    const ConnectionCounts& c = *options_.connections;
    gauge("plexus_api_connections", "Connections that are open.", c.open);
    gauge("plexus_api_network_connections", "Of these, over TCP.", c.by_network);
    counter("plexus_api_connections_found_full_total",
            "Connections that had to wait, because all places were taken.",
            static_cast<double>(c.found_full));
    counter("plexus_api_connections_gave_way_total",
            "Connections closed for new ones, because they let the server wait.",
            static_cast<double>(c.gave_way));
  }
  gauge("plexus_api_tokens", "Tokens that are known.", static_cast<double>(tokens_.size()));
  return r;
}

}  // namespace plexus::api
