// SPDX-License-Identifier: Apache-2.0
// YAML text to Node and back. A subset on purpose: one document; no anchors, aliases, merge keys or tags; keys are
// scalars and distinct. Unquoted scalars stay text (Node::Kind::plain): the schema gives them a type, so `010`, `no`
// and `00:11:22:33:44:55` mean what they say.
#pragma once

#include <string>
#include <string_view>

#include "codec/node.h"

namespace plexus::codec {

/// On problems the result is null. An empty document is null too.
[[nodiscard]] Node parse_yaml(std::string_view text, Problems& problems,
                              const DocumentLimits& limits = {});

/// Block style; lists of scalars on one line. Ends with a newline.
[[nodiscard]] std::string write_yaml(const Node& node);

}  // namespace plexus::codec
