// SPDX-License-Identifier: Apache-2.0
// JSON text to Node and back. Strict RFC 8259, and stricter: duplicate keys are refused, and text must be UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "codec/node.h"

namespace plexus::codec {

/// Reads one value; anything but white space after it is a problem. On problems the result is null.
[[nodiscard]] Node parse_json(std::string_view text, Problems& problems,
                              const DocumentLimits& limits = {});

enum class JsonStyle : uint8_t { compact, pretty };

/// Plain scalars are written as strings. Ends without a newline.
[[nodiscard]] std::string write_json(const Node& node, JsonStyle style = JsonStyle::compact);

/// A string with its quotes and escapes.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace plexus::codec
