// SPDX-License-Identifier: Apache-2.0
// Finder: the object that a person means by a name or an id. What is not there is answered with the nearest name, what
// is there several times with all of them. Not thread-safe.
#pragma once

#include "cli/api_client.h"

namespace plexus::cli {

class Finder {
 public:
  /// `api` must outlive this.
  explicit Finder(ApiClient& api) : api_(api) {}

  /// `tenant` narrows a name; empty: any, but an object without a tenant goes first.
  Result<Object> find(const codec::ResourceSpec& type, const std::string& id_or_name,
                      const std::string& tenant = {});

  /// The id of what an object of `tenant` may refer to by that name: its own tenant's, or nobody's.
  Result<Uuid> reference(const codec::ResourceSpec& type, const std::string& tenant,
                         const std::string& name);

  /// An error of a request that named an object, in words that help.
  Error explain(Error error, const codec::ResourceSpec& type, const std::string& id_or_name);

 private:
  /// " of tenant blue of load-balancer front": what tells it from others of its name.
  std::string whose(const codec::ResourceSpec& type, const Object& object);
  Error missing(const codec::ResourceSpec& type, const std::string& name);

  ApiClient& api_;
};

/// "did you mean 'web'?"; a long list of names is not told in full.
[[nodiscard]] std::string hint(const std::string& name, const std::vector<std::string>& names);

}  // namespace plexus::cli
