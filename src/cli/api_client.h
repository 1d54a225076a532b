// SPDX-License-Identifier: Apache-2.0
// ApiClient: the API's resources as documents and messages. Errors carry the server's own words. Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/http_client.h"
#include "codec/cloud_file.h"
#include "codec/node.h"
#include "codec/schema.h"

namespace plexus::cli {

using Query = std::vector<std::pair<std::string, std::string>>;

/// One object: as the server wrote it (with fields that only it knows), and as we read it.
struct Object {
  codec::Node document;
  codec::MessagePtr message;
};

class ApiClient {
 public:
  /// `http` must outlive this.
  explicit ApiClient(HttpClient& http) : http_(http) {}

  Result<std::vector<Object>> list(const codec::ResourceSpec& resource, const Query& query = {});
  Result<Object> get(const codec::ResourceSpec& resource, std::string_view id_or_name,
                     const Query& query = {});
  Result<Object> create(const codec::ResourceSpec& resource, const codec::Node& body);
  Result<Object> patch(const codec::ResourceSpec& resource, std::string_view id_or_name,
                       const codec::Node& body, const Query& query = {});
  /// The server's answer: what else was removed or cleared.
  Result<codec::Node> remove(const codec::ResourceSpec& resource, std::string_view id_or_name,
                             const Query& query = {});

  /// Any other path; the answer as a tree.
  Result<codec::Node> call(const std::string& method, const std::string& target,
                           const codec::Node* body = nullptr);

  /// Adds the names of all objects of a type to a table.
  Result<void> learn_names(const codec::ResourceSpec& resource, codec::NameTable& table);

 private:
  HttpClient& http_;
};

/// The error that a problem document (RFC 9457) says; `status` decides the code.
[[nodiscard]] Error error_of(const HttpReply& reply);

/// "?a=b&c=d", encoded; empty for none.
[[nodiscard]] std::string query_text(const Query& query);

}  // namespace plexus::cli
