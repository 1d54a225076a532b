// SPDX-License-Identifier: Apache-2.0
// Answers that several routes give: problem documents, resources, lists; and the parts of requests that several read.
// Pure but for the log.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/http_message.h"
#include "base/result.h"
#include "codec/node.h"

namespace plexus::api {

/// A failed operation of the store or the topology. `conditional`: the request had an If-Match. `extra`: see problem().
[[nodiscard]] Response failure(const Error& error, bool conditional = false,
                               std::string_view extra = {});
/// What is wrong with a request's body, each with its field and remedy.
[[nodiscard]] Response failure(int status, const codec::Problems& problems,
                               std::string_view extra = {});
/// One field is wrong.
[[nodiscard]] Response field_failure(int status, std::string_view field, std::string_view detail,
                                     std::string_view remedy, std::string_view extra = {});
[[nodiscard]] Response not_allowed(const Request& request, std::string_view allowed);
[[nodiscard]] Response forbidden(std::string_view detail);
[[nodiscard]] Response precondition_failed(std::string_view extra = {});
[[nodiscard]] Response json_answer(int status, const codec::Node& node);

/// What a tag in If-Match or If-None-Match means.
struct Condition {
  std::optional<int64_t> version;  ///< nullopt: any
  bool never = false;              ///< a tag we have not given out
  bool given = false;
};
[[nodiscard]] Condition condition_of(std::string_view tag);
[[nodiscard]] std::string etag_of(int64_t version);

/// The body as a tree, or the answer that says why not.
[[nodiscard]] std::variant<codec::Node, Response> body_of(const Request& request);

/// A whole number parameter within 1 and `max`; `otherwise` when absent.
[[nodiscard]] Result<uint32_t> number_parameter(const Request& request, std::string_view name,
                                                uint32_t otherwise, uint32_t max);

/// Refuses query parameters that are none of `known`, with the nearest named.
[[nodiscard]] std::optional<Response> unknown_parameter(const Request& request,
                                                        const std::vector<std::string>& known);

}  // namespace plexus::api
