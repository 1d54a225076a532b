// SPDX-License-Identifier: Apache-2.0
// Api: the REST resources under /v1 over a store, as a function from Request to Response. docs/api.md describes it for
// its users.
//
//   GET    /v1                         the collections
//   GET    /v1/<collection>            all, by name; ?field=value only those with it; ?limit=&after= in pages
//   POST   /v1/<collection>            create: 201 with Location and ETag
//   GET    /v1/<collection>/<id|name>  one, with ETag; If-None-Match honoured
//   PATCH  /v1/<collection>/<id|name>  merge (RFC 7396); If-Match honoured
//   PUT    /v1/<collection>/<id|name>  replace; If-Match honoured
//   DELETE /v1/<collection>/<id|name>  If-Match honoured
//   POST   /v1/batch                   several of these, all or nothing
//   GET    /v1/watch                   changes as they happen (text/event-stream)
//   GET    /v1/convergence             who has applied what
//   GET    /v1/audit, /v1/whoami, /v1/openapi.json
//   POST   /v1/hosts/<id>/credentials
//   GET    /v1/status/bindings, /v1/status/hosts   what hosts report
//   GET    /health, /metrics
//
// Every answer about the store's content carries its revision in Plexus-Revision, every answer its request's id in
// Plexus-Request-Id. Errors are problem documents (RFC 9457) with `errors`: a list of {field, line, detail, remedy}.
//
// Threads: handle() may be called from several at once. It has threads of its own: the change feed, convergence, and one
// that finishes removals that other servers began.
#pragma once

#include <google/protobuf/message.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "api/caller.h"
#include "api/change_feed.h"
#include "api/convergence.h"
#include "api/http_server.h"
#include "api/metrics.h"
#include "api/places.h"
#include "api/tenancy.h"
#include "api/token_table.h"
#include "codec/schema.h"
#include "store/store.h"
#include "store/topology/writer.h"

namespace plexus::api {

struct ApiOptions {
  std::string identity = {};  ///< text of the identity file; empty: the store knows none
  FeedOptions feed = {};
  std::shared_ptr<const ConnectionCounts> connections = {};  ///< for the metrics
};

class Api {
 public:
  /// `store` must outlive this.
  explicit Api(store::Store& store, ApiOptions options = {});
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  /// Answers now or later; never blocks for long.
  void handle(const Request& request, Answer answer);
  /// The same, waiting for the answer.
  [[nodiscard]] Response handle(const Request& request);

  /// How much a body may have.
  [[nodiscard]] static size_t body_limit(std::string_view method, std::string_view target);

 private:
  /// One request and who makes it.
  struct Call {
    const Request& request;
    Caller caller;
    std::string id;
    [[nodiscard]] store::Author author() const { return {caller.who, id, caller.tenant}; }
  };
  struct BatchParts;

  std::variant<Caller, Response> authenticate(const Request& request);
  Response route(const Call& call, const std::vector<std::string>& path);
  Response collections(const Call& call);
  Response collection(const Call& call, const codec::ResourceSpec& resource);
  Response object(const Call& call, const codec::ResourceSpec& resource,
                  const std::string& id_or_name);

  // api_objects.cc
  Response list(const Call& call, const codec::ResourceSpec& resource);
  Result<std::vector<store::StoredResource>> page(
      const codec::ResourceSpec& resource, const Uuid& after, size_t limit,
      const std::function<bool(const google::protobuf::Message&)>& wanted);
  Response create(const Call& call, const codec::ResourceSpec& resource);
  Response change(const Call& call, const codec::ResourceSpec& resource, const Uuid& id,
                  bool whole);
  Response remove(const Call& call, const codec::ResourceSpec& resource, const Uuid& id);
  Result<store::StoredResource> look_up(const Call& call, const codec::ResourceSpec& resource,
                                        const std::string& id_or_name);
  Response resource_answer(int status, const store::StoredResource& stored,
                           std::string_view secret = {});
  void changed(const codec::ResourceSpec& resource);

  // api_batch.cc
  Response batch(const Call& call);

  // api_status.cc
  Response status(const Call& call, const std::string& kind);
  Response watch(const Call& call);
  Response audit(const Call& call);
  Response whoami(const Call& call);
  Response credentials(const Call& call, const std::string& id_or_name);
  void convergence(const Call& call, const Answer& answer);
  Response health();
  Response metrics();

  [[nodiscard]] bool good(const Caller& caller) const;
  void finish_removals();
  void note_loading(bool loading);

  store::Store& store_;
  const ApiOptions options_;
  Metrics metrics_;
  FailureLimit failures_;
  TokenTable tokens_;
  Places streams_, waits_;
  ChangeFeed feed_;
  Convergence convergence_;
  std::atomic<bool> loading_{false};  ///< a dump is being loaded into the store
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;  ///< guarded by mutex_
  std::thread finisher_;
  std::unique_ptr<store::Watch> loading_watch_;
};

}  // namespace plexus::api
