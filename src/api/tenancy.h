// SPDX-License-Identifier: Apache-2.0
// Tenancy: what keeps a tenant's token within its own things when it changes something. Foreign objects are as if they
// did not exist: the answer to a reference to one is the answer to a reference to nothing. What it owns at something of
// another tenant (a port at another's bridge, a route of another's router, a port wired to one) is the administrators' to
// make and to change, but for what the schema leaves to its owner. For other callers everything passes.
//
// Threads: one Tenancy serves one request.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "api/caller.h"
#include "api/http_message.h"
#include "base/result.h"
#include "codec/node.h"
#include "store/store.h"

namespace plexus::api {

class Tenancy {
 public:
  Tenancy(store::Store& store, const Caller& caller) : store_(store), caller_(caller) {}

  /// Objects that are made by the same request and that later parts of it may refer to.
  void will_exist(const google::protobuf::Message& message);

  /// A new object: gives it the caller's tenant and says what is wrong with it. An Error means that the store did not
  /// answer. `path`: the prefix of fields in problems.
  Result<codec::Problems> check_new(const codec::ResourceSpec& resource,
                                    google::protobuf::Message& message, const std::string& path);

  /// A changed one: what the caller may not decide stays as it was unless the body asked to change it, which is a
  /// problem. `body`: the document that made `now` of `before`.
  Result<codec::Problems> check_change(const codec::ResourceSpec& resource,
                                       const google::protobuf::Message& before,
                                       google::protobuf::Message& now, const codec::Node& body,
                                       const std::string& path);

  /// not_found: there is no such object for this caller. in_use: something that is not the caller's depends on it; a token
  /// is for the tenant that is removed.
  Result<void> check_removal(const codec::ResourceSpec& resource, const Uuid& id);

  /// not_found: there is no such object for this caller.
  Result<void> check_exists(const codec::ResourceSpec& resource, const Uuid& id);

 private:
  /// Whether the caller may decide the field of `before`, an object of its own.
  Result<bool> may_decide(const codec::ResourceSpec& resource, const codec::FieldSpec& field,
                          const google::protobuf::Message& before);
  /// The field by which `message` is part of, or wired to, something that is not the caller's; nullptr: there is none.
  Result<const codec::FieldSpec*> leads_out(const codec::ResourceSpec& resource,
                                            const google::protobuf::Message& message,
                                            bool wired = true);
  /// As it is, or as the request will make it; nullptr: there is none.
  Result<std::shared_ptr<const google::protobuf::Message>> find(const codec::ResourceSpec& resource,
                                                                const Uuid& id);
  Result<bool> is_taken(const codec::ResourceSpec& resource, const Uuid& id);
  Result<bool> own(const codec::ResourceSpec& resource, const Uuid& id);
  /// Whether `now` lacks a reference of `before` to something that is not the caller's.
  Result<bool> takes_out_foreign(const codec::FieldSpec& field,
                                 const google::protobuf::Message& before,
                                 const google::protobuf::Message& now);
  Result<void> check_reference(const codec::FieldSpec& field, const Uuid& to, const Uuid& from,
                               const std::string& path, codec::Problems& problems);
  Result<void> check_no_tokens(const Uuid& tenant);
  Result<bool> foreign_dependents(const codec::ResourceSpec& resource, const Uuid& id, int depth);

  store::Store& store_;
  const Caller& caller_;
  std::map<std::pair<std::string, Uuid>, std::shared_ptr<const google::protobuf::Message>> new_;
  std::set<Uuid> gone_;  ///< tokens that the same request removes
};

}  // namespace plexus::api
