// SPDX-License-Identifier: Apache-2.0
// Api: the REST resources under /v1 over a store, as a function from Request to Response. docs/api.md describes it for
// its users.
//
//   GET    /v1                         the collections
//   GET    /v1/<collection>            all, by name; ?field=value only those with it
//   POST   /v1/<collection>            create: 201 with Location and ETag
//   GET    /v1/<collection>/<id|name>  one, with ETag
//   PATCH  /v1/<collection>/<id|name>  merge (RFC 7396); If-Match honoured
//   PUT    /v1/<collection>/<id|name>  replace; If-Match honoured
//   DELETE /v1/<collection>/<id|name>  If-Match honoured
//   GET    /v1/status/bindings, /v1/status/hosts   what hosts report
//   GET    /health, /metrics
//
// Every answer about the store's content carries its revision in Plexus-Revision. Errors are problem documents
// (RFC 9457) with `errors`: a list of {field, line, detail, remedy}.
//
// Threads: handle() may be called from several at once.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "api/http_server.h"
#include "codec/schema.h"
#include "store/store.h"
#include "store/topology/writer.h"

namespace plexus::api {

class Api {
 public:
  /// `store` must outlive this.
  explicit Api(store::Store& store) : store_(store), writer_(store) {}

  [[nodiscard]] Response handle(const Request& request);

 private:
  struct Object;

  Response route(const Request& request);
  Response collection(const Request& request, const codec::ResourceSpec& resource);
  Response object(const Request& request, const codec::ResourceSpec& resource,
                  const std::string& id_or_name);

  Response list(const Request& request, const codec::ResourceSpec& resource);
  Response create(const Request& request, const codec::ResourceSpec& resource);
  Response change(const Request& request, const codec::ResourceSpec& resource, const Uuid& id,
                  bool whole);
  Response remove(const Request& request, const codec::ResourceSpec& resource, const Uuid& id);
  Response status(const Request& request, const std::string& kind);
  Response health();
  Response metrics();

  Result<store::StoredResource> look_up(const Request& request, const codec::ResourceSpec& resource,
                                        const std::string& id_or_name);

  store::Store& store_;
  store::TopologyWriter writer_;
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t>
      served_;  ///< requests by method and status; guarded by mutex_
};

}  // namespace plexus::api
