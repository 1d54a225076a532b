// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "api/answers.h"
#include "api/openapi.h"
#include "api/url.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/nearest.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

using codec::Node;
using codec::ResourceSpec;

constexpr std::chrono::seconds kFinishRemovals{60};

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// A guest's browser must not reach a server that trusts everybody on this machine: neither a page of another origin,
/// nor, where a name could be pointed at 127.0.0.1 (DNS rebinding), one of a foreign name.
bool from_a_browser(const Request& request) {
  if (request.has_origin) return true;
  if (!request.from_network || request.encrypted) return false;
  std::string_view host = request.host;
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos)
    host = host.substr(0, colon);
  return host != "localhost" && host != "[::1]" && host.substr(0, 4) != "127.";
}

/// The client's own, if it is fit to be printed.
std::string request_id_of(const Request& request) {
  const std::string& given = request.request_id;
  const bool fit =
      !given.empty() && given.size() <= 64 &&
      std::all_of(given.begin(), given.end(), [](char c) { return c > ' ' && c < 127; });
  return fit ? given : Uuid::random().str().substr(0, 18);
}

std::string route_class(const std::vector<std::string>& path) {
  if (path.empty()) return "root";
  if (path[0] != "v1") return path[0] == "health" || path[0] == "metrics" ? path[0] : "other";
  if (path.size() == 1) return "root";
  for (const char* name :
       {"batch", "watch", "convergence", "audit", "whoami", "openapi.json", "status"}) {
    if (path[1] == name) return name;
  }
  if (codec::find_collection(path[1]) == nullptr) return "other";
  if (path.size() == 2) return "collection";
  return path.size() == 3 ? "object" : "other";
}

Response unauthorized(std::string_view detail, std::string_view challenge) {
  Response r = problem(401, detail);
  r.headers.emplace_back("WWW-Authenticate", std::string(challenge));
  return r;
}

}  // namespace

Api::Api(store::Store& store, ApiOptions options)
    : store_(store),
      options_(std::move(options)),
      tokens_(store),
      feed_(store, options_.feed,
            [this](const std::vector<ChangeFeed::EntryPointer>& entries) {
              const bool tokens =
                  entries.empty() || std::any_of(entries.begin(), entries.end(), [](const auto& e) {
                    return std::any_of(e->entry.changes().begin(), e->entry.changes().end(),
                                       [](const auto& c) { return c.type() == "token"; });
                  });
              if (!tokens) return;
              if (auto done = tokens_.reload(); !done)
                log_warn("api", "reading the tokens: {}", done.error().message);
              feed_.check_streams();
            }),
      convergence_(store),
      finisher_([this] { finish_removals(); }),
      loading_watch_(store.watch(store::loading_path(), [this](const store::WatchEvent& event) {
        note_loading(event.record.has_value());
      })) {}

Api::~Api() {
  loading_watch_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  finisher_.join();
}

/// What is written into a store that is half loaded is lost, or stops the load.
void Api::note_loading(bool loading) {
  if (loading_.exchange(loading) == loading) return;
  if (loading) {
    log_warn("api",
             "a dump is being loaded into the store, or its load was interrupted (run plexus-store "
             "load again then): changes are refused until it is whole");
  } else {
    log_info("api", "the store is whole again: changes are taken");
  }
}

void Api::finish_removals() {
  while (true) {
    const auto done = loading_
                          ? Result<size_t>(store::being_loaded())
                          : store::resume_removals(store_, store::Author{"plexus-api", "removal"});
    if (done && *done > 0) log_info("api", "finished {} removals that were begun before", *done);
    if (!done) log_debug("api", "finishing removals: {}", done.error().message);
    std::unique_lock lock(mutex_);
    if (stopped_.wait_for(lock, done ? kFinishRemovals : std::chrono::seconds(2),
                          [&] { return stopping_; })) {
      return;
    }
  }
}

size_t Api::body_limit(std::string_view method, std::string_view target) {
  constexpr size_t kNormal = 1u << 20, kBatch = 8u << 20;
  return method == "POST" && target.substr(0, target.find('?')) == "/v1/batch" ? kBatch : kNormal;
}

bool Api::good(const Caller& caller) const {
  return caller.token.is_nil() || tokens_.good(caller.token, unix_seconds());
}

std::variant<Caller, Response> Api::authenticate(const Request& request) {
  constexpr std::string_view kBearer = "bearer ";
  const bool trusted = request.uid && (*request.uid == 0 || *request.uid == ::geteuid());
  if (request.authorization.empty()) {
    if (trusted) {
      return Caller{
          Caller::Role::admin, {}, fmt::format("uid {} by unix socket", *request.uid), {}};
    }
    metrics_.refused("missing");
    return unauthorized(
        "who are you? send Authorization: Bearer TOKEN, or ask as root over the "
        "unix socket",
        "Bearer realm=\"plexus\"");
  }
  std::string scheme = request.authorization.substr(0, kBearer.size());
  for (char& c : scheme) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (scheme == kBearer) {
    auto found = tokens_.find(std::string_view(request.authorization).substr(kBearer.size()),
                              unix_seconds());
    if (!found) return failure(found.error());
    if (*found) return std::move(**found);
  }
  const std::string source = request.uid ? fmt::format("uid {}", *request.uid) : request.remote;
  if (!failures_.note(source, std::chrono::steady_clock::now())) {
    metrics_.refused("limited");
    Response r = problem(429, "too many requests with bad tokens; wait a second");
    r.headers.emplace_back("Retry-After", "1");
    return r;
  }
  metrics_.refused("invalid");
  return unauthorized("the token is unknown, revoked or expired; ask an administrator for another",
                      "Bearer realm=\"plexus\", error=\"invalid_token\"");
}

Response Api::handle(const Request& request) {
  std::promise<Response> promise;
  auto answer = promise.get_future();
  handle(request, [&](Response r) { promise.set_value(std::move(r)); });
  return answer.get();
}

void Api::handle(const Request& request, Answer answer) {
  const std::vector<std::string> path = segments(request.path);
  const std::string id = request_id_of(request);
  const Answer finish = [this, id, method = request.method, route = route_class(path),
                         begun = std::chrono::steady_clock::now(),
                         answer = std::move(answer)](Response r) {
    r.headers.emplace_back("Plexus-Request-Id", id);
    if (r.content_type == "application/problem+json")
      r.body.insert(r.body.size() - 1, ",\"request_id\":" + codec::json_string(id));
    metrics_.answered(method, r.status, route, std::chrono::steady_clock::now() - begun);
    answer(std::move(r));
  };
  if (from_a_browser(request)) {
    return finish(
        problem(403, "requests of web pages are refused; use plexus or curl with localhost"));
  }
  if (path.size() == 1 && path[0] == "health") return finish(health());
  if (path.size() == 1 && path[0] == "metrics" && request.uid && request.authorization.empty())
    return finish(metrics());
  auto caller = authenticate(request);
  if (auto* refusal = std::get_if<Response>(&caller)) return finish(std::move(*refusal));
  const Call call{request, std::move(std::get<Caller>(caller)), id};
  const bool reads = request.method == "GET";
  if (!reads && !call.caller.may_write()) {
    return finish(forbidden("a reader's token may only read; use one with role tenant or admin"));
  }
  if (!reads && loading_) return finish(failure(store::being_loaded()));
  if (path.size() == 2 && path[0] == "v1" && path[1] == "convergence") {
    if (!reads) return finish(not_allowed(request, "GET"));
    return convergence(call, finish);
  }
  finish(route(call, path));
}

Response Api::route(const Call& call, const std::vector<std::string>& path) {
  const Request& request = call.request;
  if (path.empty() || (path.size() == 1 && path[0] == "v1")) return collections(call);
  if (path.size() == 1 && path[0] == "metrics") return metrics();
  if (path[0] != "v1")
    return problem(404, codec::in_quotes(request.path) + " is nothing; resources are below /v1");
  if (path.size() == 2) {
    const bool reads = request.method == "GET";
    if (path[1] == "batch")
      return request.method == "POST" ? batch(call) : not_allowed(request, "POST");
    if (path[1] == "watch") return reads ? watch(call) : not_allowed(request, "GET");
    if (path[1] == "audit") return reads ? audit(call) : not_allowed(request, "GET");
    if (path[1] == "whoami") return reads ? whoami(call) : not_allowed(request, "GET");
    if (path[1] == "openapi.json") {
      if (!reads) return not_allowed(request, "GET");
      Response r;
      r.body = openapi_document();
      return r;
    }
  }
  if (path[1] == "status" && path.size() == 3) return status(call, path[2]);
  const ResourceSpec* resource = codec::find_collection(path[1]);
  if (resource == nullptr) {
    return problem(404, fmt::format("unknown collection {}; {}", codec::in_quotes(path[1]),
                                    codec::suggestion(path[1], codec::collection_names())));
  }
  // A reader of everything sees these too.
  if (!belongs_to_tenants(*resource) && !call.caller.is_admin() &&
      (call.caller.limited() || call.caller.may_write())) {
    return forbidden(resource->collection + " are for administrators; use a token with role admin");
  }
  if (path.size() == 2) return collection(call, *resource);
  if (path.size() == 3) return object(call, *resource, path[2]);
  if (path.size() == 4 && path[1] == "hosts" && path[3] == "credentials") {
    return request.method == "POST" ? credentials(call, path[2]) : not_allowed(request, "POST");
  }
  return problem(404, codec::in_quotes(request.path) + " is nothing; objects are /v1/" +
                          resource->collection + "/<id>");
}

Response Api::collections(const Call& call) {
  if (call.request.method != "GET") return not_allowed(call.request, "GET");
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

Response Api::collection(const Call& call, const ResourceSpec& resource) {
  if (call.request.method == "GET") return list(call, resource);
  if (call.request.method == "POST") return create(call, resource);
  return not_allowed(call.request, "GET, POST");
}

Response Api::object(const Call& call, const ResourceSpec& resource,
                     const std::string& id_or_name) {
  const Request& request = call.request;
  if (request.method != "GET" && request.method != "PATCH" && request.method != "PUT" &&
      request.method != "DELETE") {
    return not_allowed(request, "GET, PATCH, PUT, DELETE");
  }
  if (request.method != "GET" && condition_of(request.if_match).never) return precondition_failed();
  auto id = Uuid::parse(id_or_name);
  if (!id || request.method == "GET") {
    const auto found = look_up(call, resource, id_or_name);
    if (!found) return failure(found.error());
    if (request.method == "GET") {
      const Condition have = condition_of(request.if_none_match);
      if (have.given && !have.never && have.version.value_or(found->version) == found->version) {
        Response r;
        r.status = 304;
        r.headers.emplace_back("ETag", etag_of(found->version));
        r.headers.emplace_back("Plexus-Revision", feed_.token(found->revision));
        return r;
      }
      return resource_answer(200, *found);
    }
    id = Uuid::from_bytes(codec::get_raw(*found->message, "id"));
    if (!id) return problem(500, "the stored object has no id; the store is damaged");
  }
  if (request.method == "DELETE") return remove(call, resource, *id);
  return change(call, resource, *id, request.method == "PUT");
}

}  // namespace plexus::api
