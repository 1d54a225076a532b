// SPDX-License-Identifier: Apache-2.0
// Decoding merges a document onto a message and says everything that is wrong with it, each with path, line and
// remedy. Fields of the message that this build does not know are never touched. validate() then looks at the message
// as a whole. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "codec/node.h"
#include "codec/schema.h"

namespace plexus::codec {

enum class Merge : uint8_t {
  create,  ///< onto an empty message; immutable fields may be set, null means absent
  patch,   ///< RFC 7396: given fields replace, null clears, the others stay
  put,     ///< the same after all known fields were reset, the immutable and output-only ones aside
};

/// A reference that was written as a name: to be replaced by the id of the `field.target()` of that name.
struct NameReference {
  const FieldSpec* field = nullptr;
  std::string name;
  int line = 0;
  int index = 0;  ///< which entry, where the field is a list
};

/// Puts the id where decode() left the nil id for the name.
void set_reference(google::protobuf::Message& message, const NameReference& reference,
                   const Uuid& id);

struct DecodeOptions {
  Merge merge = Merge::create;
  std::string path = {};  ///< of the node itself, the prefix of all paths in problems: "ports[2]"
  /// Where names in reference fields go; nullptr: ids only. The field itself then holds the nil id, so that validate()
  /// sees it set; set_reference() the real one.
  std::vector<NameReference>* names = nullptr;
  /// What a server answered: output-only fields are taken, and what only a newer schema knows is passed over.
  bool answer = false;
  /// Where the fields that were written as null go, with merge == create; nullptr: nowhere.
  std::vector<std::string>* cleared = nullptr;
};

/// After problems `onto` is undefined: work on a copy. Changing an immutable or output-only field is a problem; giving
/// it the value it has is none.
[[nodiscard]] Problems decode(const Node& node, const DecodeOptions& options,
                              google::protobuf::Message& onto);

/// The whole message: required fields, exclusive fields, ranges, formats, references named twice, sizes of lists and of the
/// record. `line` goes into the problems.
[[nodiscard]] Problems validate(const google::protobuf::Message& message,
                                const std::string& path = {}, int line = 0);

}  // namespace plexus::codec
