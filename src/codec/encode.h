// SPDX-License-Identifier: Apache-2.0
// Messages as documents, as table cells, and as something to filter by. Secret fields never come out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/node.h"
#include "codec/schema.h"

namespace plexus::codec {

/// A map of the fields that are set, in order of their numbers, in canonical text: decode(encode(m)) == m as far as the
/// schema knows m.
[[nodiscard]] Node encode(const google::protobuf::Message& message);

/// The values of one field as text, one element for each; empty if it is not set.
[[nodiscard]] std::vector<std::string> field_texts(const google::protobuf::Message& message,
                                                   const FieldSpec& field);

/// "the object's field has this value": a list is matched by any of its entries, what is not set by what it then counts
/// as.
struct Filter {
  const FieldSpec* field = nullptr;
  std::string text;            ///< canonical
  bool matches_unset = false;  ///< it is what the field counts as when it is not set
};

/// What a boolean, number or word counts as when it is not set: its help says "WORD when unset"; a boolean else counts as
/// false. Empty: nothing.
[[nodiscard]] std::string value_when_unset(const FieldSpec& field);

/// Reads a filter from the text of a value; the problem names the nearest known field or the form expected.
[[nodiscard]] Result<Filter> parse_filter(const ResourceSpec& resource, std::string_view field,
                                          std::string_view value);
[[nodiscard]] bool matches(const google::protobuf::Message& message, const Filter& filter);

}  // namespace plexus::codec
