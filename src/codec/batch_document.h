// SPDX-License-Identifier: Apache-2.0
// The body of POST /v1/batch as a list of operations: what each does to which object, with its document. Strict as all
// documents: unknown members are refused, with path, line and the nearest name. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "codec/node.h"
#include "codec/schema.h"

namespace plexus::codec {

struct BatchOperation {
  enum class Verb : uint8_t { create, update, remove };
  Verb verb = Verb::create;
  const ResourceSpec* resource = nullptr;
  Uuid id;               ///< of update and remove
  Node body;             ///< of create and update
  std::string if_match;  ///< of update and remove; empty: none
  std::string path;      ///< "operations[3].body"
  int line = 0;
};

struct BatchDocument {
  std::vector<BatchOperation> operations;
  std::optional<size_t> failed;  ///< the operation that the problems are about
};

/// Stops at the first operation with problems.
[[nodiscard]] BatchDocument parse_batch(Node document, size_t limit, Problems& problems);

}  // namespace plexus::codec
