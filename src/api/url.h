// SPDX-License-Identifier: Apache-2.0
// Request targets: percent-decoding of paths and queries (RFC 3986).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plexus::api {

struct Target {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;
};

/// Splits and decodes an origin-form target ("/v1/ports?name=a%20b"). nullopt: not of that form, a broken escape, an
/// escaped slash or NUL, or not UTF-8.
[[nodiscard]] std::optional<Target> parse_target(std::string_view target);

/// The segments of a path, empty ones left out.
[[nodiscard]] std::vector<std::string> segments(std::string_view path);

}  // namespace plexus::api
