// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <set>

#include "api/url.h"
#include "base/log.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/json.h"
#include "codec/nearest.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

using codec::Node;
using codec::Problems;
using codec::ResourceSpec;

constexpr std::string_view kStatusKinds[] = {"bindings", "hosts"};

int status_of(const Error& error, bool conditional) {
  switch (error.code) {
    case ErrorCode::invalid:
      return 422;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::exists:
      return 409;
    case ErrorCode::conflict:
      return conditional ? 412 : 409;
    case ErrorCode::in_use:
      return 409;
    case ErrorCode::unsupported:
      return 409;
    case ErrorCode::unavailable:
      return 503;
    case ErrorCode::no_space:
      return 507;
    case ErrorCode::denied:
      return 403;
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

Response failure(const Error& error, bool conditional = false) {
  Response r = problem(status_of(error, conditional), error.message);
  if (r.status == 503) r.headers.emplace_back("Retry-After", "1");
  if (r.status >= 500) log_error("api", "answered {}: {}", r.status, error.message);
  return r;
}

/// What is wrong with a request's body, each with its field.
Response failure(int status, const Problems& problems) {
  Node errors = Node::list_of({});
  for (const codec::Problem& p : problems) {
    Node e = Node::map_of({});
    e.add("field", Node::of_text(p.field));
    if (p.line > 0) e.add("line", Node::of_number(static_cast<uint64_t>(p.line)));
    e.add("detail", Node::of_text(p.what));
    if (!p.remedy.empty()) e.add("remedy", Node::of_text(p.remedy));
    errors.items.push_back(std::move(e));
  }
  std::string detail = problems[0].sentence();
  if (problems.size() > 1) detail += fmt::format(" (and {} more)", problems.size() - 1);
  return problem(status, detail, ",\"errors\":" + codec::write_json(errors));
}

Response not_allowed(const Request& request, std::string_view allowed) {
  Response r = problem(405, fmt::format("{} cannot be done here; allowed are {}",
                                        codec::in_quotes(request.method), allowed));
  r.headers.emplace_back("Allow", std::string(allowed));
  return r;
}

std::string etag_of(int64_t version) {
  return fmt::format("\"{}\"", version);
}

Response json_answer(int status, const Node& node) {
  Response r;
  r.status = status;
  r.body = codec::write_json(node) + "\n";
  return r;
}

Response resource_answer(int status, const store::StoredResource& stored) {
  Response r = json_answer(status, codec::encode(*stored.message));
  r.headers.emplace_back("ETag", etag_of(stored.version));
  r.headers.emplace_back("Plexus-Revision", std::to_string(stored.revision.value));
  return r;
}

/// What an If-Match header asks for.
struct Condition {
  std::optional<int64_t> version;  ///< nullopt: any
  bool never = false;              ///< a tag we have not given out
  bool given = false;
};

Condition condition_of(const Request& request) {
  Condition c;
  const std::string& tag = request.if_match;
  c.given = !tag.empty();
  if (!c.given || tag == "*") return c;
  const auto number = tag.size() > 2 && tag.front() == '"' && tag.back() == '"'
                          ? codec::parse_number(std::string_view(tag).substr(1, tag.size() - 2))
                          : std::nullopt;
  if (number) {
    c.version = *number;
  } else {
    c.never = true;
  }
  return c;
}

Response precondition_failed() {
  return problem(412, "If-Match is none of this object's tags; read it again and repeat");
}

/// The body as a tree, or the answer that says why not.
std::variant<Node, Response> body_of(const Request& request) {
  if (!request.content_type.empty() && request.content_type != "application/json" &&
      request.content_type != "application/merge-patch+json") {
    return problem(
        415, codec::in_quotes(request.content_type) + " is not understood; send application/json");
  }
  Problems problems;
  Node node = codec::parse_json(request.body, problems);
  if (!problems.empty()) return failure(400, problems);
  return node;
}

/// A guest's browser must not reach a port that trusts everybody on this machine: neither a page of another origin,
/// nor one whose name was pointed at 127.0.0.1 (DNS rebinding).
bool from_a_browser(const Request& request) {
  if (request.has_origin) return true;
  if (!request.from_network) return false;
  std::string_view host = request.host;
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos)
    host = host.substr(0, colon);
  return host != "localhost" && host != "[::1]" && host.substr(0, 4) != "127.";
}

}  // namespace

Response Api::handle(const Request& request) {
  Response response =
      from_a_browser(request)
          ? problem(403, "requests of web pages are refused; use plexus or curl with localhost")
          : route(request);
  static constexpr std::string_view kMethods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
  const bool known =
      std::find(std::begin(kMethods), std::end(kMethods), request.method) != std::end(kMethods);
  const std::lock_guard lock(mutex_);
  ++served_[{known ? request.method : "other", response.status}];
  return response;
}

Response Api::route(const Request& request) {
  const std::vector<std::string> path = segments(request.path);
  if (path.empty() || (path.size() == 1 && path[0] == "v1")) {
    if (request.method != "GET") return not_allowed(request, "GET");
    Node collections = Node::list_of({});
    for (const ResourceSpec& r : codec::resources()) {
      Node c = Node::map_of({});
      c.add("collection", Node::of_text(r.collection));
      c.add("path", Node::of_text("/v1/" + r.collection));
      c.add("help", Node::of_text(r.help));
      collections.items.push_back(std::move(c));
    }
    Node out = Node::map_of({});
    out.add("collections", std::move(collections));
    return json_answer(200, out);
  }
  if (path.size() == 1 && path[0] == "health") return health();
  if (path.size() == 1 && path[0] == "metrics") return metrics();
  if (path[0] != "v1")
    return problem(404, codec::in_quotes(request.path) + " is nothing; resources are below /v1");
  if (path[1] == "status" && path.size() == 3) return status(request, path[2]);
  const ResourceSpec* resource = codec::find_collection(path[1]);
  if (resource == nullptr) {
    return problem(404, fmt::format("unknown collection {}; {}", codec::in_quotes(path[1]),
                                    codec::suggestion(path[1], codec::collection_names())));
  }
  if (path.size() == 2) return collection(request, *resource);
  if (path.size() == 3) return object(request, *resource, path[2]);
  return problem(404, codec::in_quotes(request.path) + " is nothing; objects are /v1/" +
                          resource->collection + "/<id>");
}

Response Api::collection(const Request& request, const ResourceSpec& resource) {
  if (request.method == "GET") return list(request, resource);
  if (request.method == "POST") return create(request, resource);
  return not_allowed(request, "GET, POST");
}

Response Api::object(const Request& request, const ResourceSpec& resource,
                     const std::string& id_or_name) {
  if (request.method != "GET" && request.method != "PATCH" && request.method != "PUT" &&
      request.method != "DELETE") {
    return not_allowed(request, "GET, PATCH, PUT, DELETE");
  }
  if (request.method != "GET" && condition_of(request).never) return precondition_failed();
  auto id = Uuid::parse(id_or_name);
  if (!id || request.method == "GET") {
    const auto found = look_up(request, resource, id_or_name);
    if (!found) return failure(found.error());
    if (request.method == "GET") return resource_answer(200, *found);
    id = Uuid::from_bytes(codec::get_raw(*found->message, "id"));
    if (!id) return problem(500, "the stored object has no id; the store is damaged");
  }
  if (request.method == "DELETE") return remove(request, resource, *id);
  return change(request, resource, *id, request.method == "PUT");
}

Result<store::StoredResource> Api::look_up(const Request& request, const ResourceSpec& resource,
                                           const std::string& id_or_name) {
  if (const auto id = Uuid::parse(id_or_name)) return writer_.get(*resource.descriptor, *id);
  const Error missing{ErrorCode::not_found, fmt::format("there is no {} {}", resource.singular,
                                                        codec::in_quotes(id_or_name))};
  // With a scope of at most one field the writer's index of names answers, otherwise (the same name in several
  // tenants) all are looked at.
  if (resource.name_scope.size() <= 1) {
    std::optional<std::string> scope;
    if (resource.name_scope.empty() || resource.name_scope[0] == "tenant") scope = "";
    for (const auto& [key, value] : request.query) {
      if (!resource.name_scope.empty() && key == resource.name_scope[0]) scope = value;
    }
    if (scope) {
      auto found = writer_.find(*resource.descriptor, *scope, id_or_name);
      if (found || found.error().code != ErrorCode::not_found || resource.name_scope.empty())
        return found;
    }
  }
  std::vector<codec::Filter> filters;
  for (const auto& [key, value] : request.query) {
    auto filter = codec::parse_filter(resource, key, value);
    if (!filter) return filter.error();
    filters.push_back(std::move(*filter));
  }
  auto all = writer_.list(*resource.descriptor);
  if (!all) return all.error();
  store::StoredResource* match = nullptr;
  for (store::StoredResource& stored : *all) {
    if (codec::get_raw(*stored.message, "name") != id_or_name) continue;
    if (!std::all_of(filters.begin(), filters.end(),
                     [&](const auto& f) { return matches(*stored.message, f); })) {
      continue;
    }
    if (match != nullptr) {
      return Error{
          ErrorCode::exists,
          fmt::format("several {} are called {}; use the id, or add ?{}=...", resource.collection,
                      codec::in_quotes(id_or_name), fmt::join(resource.name_scope, "=...&"))};
    }
    match = &stored;
  }
  if (match == nullptr) return missing;
  return std::move(*match);
}

Response Api::list(const Request& request, const ResourceSpec& resource) {
  std::vector<codec::Filter> filters;
  for (const auto& [key, value] : request.query) {
    auto filter = codec::parse_filter(resource, key, value);
    if (!filter) return problem(400, filter.error().message);
    filters.push_back(std::move(*filter));
  }
  // The revision first: the list holds at least all that it promises.
  const auto revision = store_.sync();
  if (!revision) return failure(revision.error());
  auto all = writer_.list(*resource.descriptor);
  if (!all) return failure(all.error());
  std::sort(all->begin(), all->end(), [](const auto& a, const auto& b) {
    return codec::get_raw(*a.message, "name") < codec::get_raw(*b.message, "name");
  });
  Node items = Node::list_of({});
  for (const store::StoredResource& stored : *all) {
    if (std::all_of(filters.begin(), filters.end(),
                    [&](const auto& f) { return matches(*stored.message, f); })) {
      items.items.push_back(codec::encode(*stored.message));
    }
  }
  Node out = Node::map_of({});
  out.add("items", std::move(items));
  out.add("revision", Node::of_text(std::to_string(revision->value)));
  Response r = json_answer(200, out);
  r.headers.emplace_back("Plexus-Revision", std::to_string(revision->value));
  return r;
}

Response Api::create(const Request& request, const ResourceSpec& resource) {
  auto body = body_of(request);
  if (auto* answer = std::get_if<Response>(&body)) return std::move(*answer);
  const codec::MessagePtr message = resource.new_message();
  Problems problems = codec::decode(std::get<Node>(body), {}, *message);
  if (problems.empty()) problems = codec::validate(*message);
  if (!problems.empty()) return failure(422, problems);
  const auto stored = writer_.create(*message);
  if (!stored) return failure(stored.error());
  Response r = resource_answer(201, *stored);
  r.headers.emplace_back("Location", fmt::format("/v1/{}/{}", resource.collection,
                                                 codec::get_text(*stored->message, "id")));
  return r;
}

Response Api::change(const Request& request, const ResourceSpec& resource, const Uuid& id,
                     bool whole) {
  auto body = body_of(request);
  if (auto* answer = std::get_if<Response>(&body)) return std::move(*answer);
  const Condition condition = condition_of(request);
  codec::DecodeOptions options;
  options.merge = whole ? codec::Merge::put : codec::Merge::patch;
  Problems problems;
  const auto stored = writer_.modify(
      *resource.descriptor, id,
      [&](google::protobuf::Message& message) -> Result<void> {
        problems = codec::decode(std::get<Node>(body), options, message);
        if (problems.empty()) problems = codec::validate(message);
        if (!problems.empty()) return codec::to_error(problems);
        return Ok{};
      },
      condition.version);
  if (!problems.empty()) return failure(422, problems);
  if (!stored) return failure(stored.error(), condition.given);
  return resource_answer(200, *stored);
}

Response Api::remove(const Request& request, const ResourceSpec& resource, const Uuid& id) {
  const Condition condition = condition_of(request);
  const auto removed = writer_.remove(*resource.descriptor, id, condition.version);
  if (!removed) return failure(removed.error(), condition.given);
  Node out = Node::map_of({});
  out.add("removed", Node::of_number(1));
  out.add("cascaded", Node::of_number(removed->cascaded));
  out.add("cleared", Node::of_number(removed->cleared));
  Response r = json_answer(200, out);
  r.headers.emplace_back("Plexus-Revision", std::to_string(removed->revision.value));
  return r;
}

Response Api::status(const Request& request, const std::string& kind) {
  if (request.method != "GET") return not_allowed(request, "GET");
  if (std::find(std::begin(kStatusKinds), std::end(kStatusKinds), kind) == std::end(kStatusKinds)) {
    return problem(404, fmt::format("unknown status {}; there are {}", codec::in_quotes(kind),
                                    fmt::join(kStatusKinds, " and ")));
  }
  const bool hosts = kind == "hosts";
  const auto records = store_.scan(std::string(store::kRoot) + (hosts ? "/h" : "/b"));
  if (!records) return failure(records.error());
  std::set<std::string> paths;
  for (const auto& [path, record] : *records) paths.insert(path);
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
    Node item = codec::encode(message);
    if (hosts) {
      item.add("live", Node::of_bool(paths.contains(path + "/live")));
    }
    items.items.push_back(std::move(item));
  }
  Node out = Node::map_of({});
  out.add("items", std::move(items));
  return json_answer(200, out);
}

Response Api::health() {
  const bool up = store_.health() == store::Health::up;
  Node out = Node::map_of({});
  out.add("status", Node::of_text(up ? "up" : "down"));
  out.add("store", Node::of_text(store_.kind()));
  return json_answer(up ? 200 : 503, out);
}

Response Api::metrics() {
  Response r;
  r.content_type = "text/plain; version=0.0.4";
  r.body =
      "# HELP plexus_api_requests_total Requests answered, by method and status.\n"
      "# TYPE plexus_api_requests_total counter\n";
  const std::lock_guard lock(mutex_);
  for (const auto& [key, count] : served_) {
    r.body += fmt::format("plexus_api_requests_total{{method=\"{}\",code=\"{}\"}} {}\n", key.first,
                          key.second, count);
  }
  return r;
}

}  // namespace plexus::api
