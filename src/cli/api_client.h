// SPDX-License-Identifier: Apache-2.0
// ApiClient: the API's resources as documents and messages. Errors carry the server's own words and what can be done.
// Not thread-safe.
#pragma once

#include <memory>
#include <optional>
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

  [[nodiscard]] std::string id() const { return codec::get_text(*message, "id"); }
  [[nodiscard]] std::string name() const { return codec::get_text(*message, "name"); }
};

/// What the barrier says: which hosts have applied everything up to a revision.
struct Convergence {
  std::string revision;
  bool converged = false;
  size_t hosts = 0, applied = 0;
  std::vector<std::string> laggards;  ///< live, and not there yet
  std::vector<std::string> unknown;   ///< not live
};

class ApiClient {
 public:
  /// `http` must outlive this.
  explicit ApiClient(HttpClient& http) : http_(http) {}

  /// All of them, page by page. revision() is then that of the first page: who follows on from there misses nothing.
  Result<std::vector<Object>> list(const codec::ResourceSpec& resource, const Query& query = {});
  Result<Object> get(const codec::ResourceSpec& resource, std::string_view id_or_name,
                     const Query& query = {});
  Result<Object> create(const codec::ResourceSpec& resource, const codec::Node& body);
  Result<Object> patch(const codec::ResourceSpec& resource, std::string_view id_or_name,
                       const codec::Node& body, const Query& query = {});
  /// The server's answer: what else was removed or cleared.
  Result<codec::Node> remove(const codec::ResourceSpec& resource, std::string_view id_or_name,
                             const Query& query = {});

  /// The items of a list that is no resource, page by page: "status/hosts".
  Result<std::vector<codec::Node>> items(const std::string& path, const Query& query = {});

  /// All or nothing. `operations` is a list of maps as docs/api.md says. On failure `failed` gets the one to blame, if
  /// it is known.
  Result<codec::Node> batch(codec::Node operations, std::optional<size_t>* failed);

  /// Asks once which hosts have applied everything up to `revision` (empty: now); the server waits at most `patience`.
  Result<Convergence> convergence(const std::string& revision, std::chrono::seconds patience);

  /// Any other path; the answer as a tree.
  Result<codec::Node> call(const std::string& method, const std::string& target,
                           const codec::Node* body = nullptr);

  /// Adds the names of all objects of a type to a table.
  Result<void> learn_names(const codec::ResourceSpec& resource, codec::NameTable& table);

  /// Of the newest answer; empty: it had none.
  [[nodiscard]] const std::string& revision() const { return revision_; }
  [[nodiscard]] HttpClient& http() { return http_; }

 private:
  HttpClient& http_;
  std::string revision_;
};

/// The error that a problem document (RFC 9457) says; `status` decides the code and, where the server gives none, the
/// remedy.
[[nodiscard]] Error error_of(const HttpReply& reply);

/// "?a=b&c=d", encoded; empty for none.
[[nodiscard]] std::string query_text(const Query& query);

/// The text of a scalar member; empty: there is none.
[[nodiscard]] std::string text_of(const codec::Node& map, std::string_view key);
/// The texts of a list member.
[[nodiscard]] std::vector<std::string> texts_of(const codec::Node& map, std::string_view key);

}  // namespace plexus::cli
