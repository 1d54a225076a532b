// SPDX-License-Identifier: Apache-2.0
// What the options of the schema say about one resource by itself. Pure.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "base/result.h"
#include "plexus/v1/options.pb.h"

namespace plexus::store {

/// Required fields, formats, ranges, enums, exclusive groups, sizes. invalid: names the resource,
/// the field and the remedy.
Result<void> validate_resource(const google::protobuf::Message& resource);

/// What an update stores: `wanted`, but with the fields that only a newer schema knows, and the
/// absent immutable and system fields, as they are stored. invalid: it changes an immutable or a
/// system field.
Result<void> merge_onto_stored(const google::protobuf::Message& stored,
                               google::protobuf::Message& wanted);

/// unsupported: the stored record was written by a newer schema, so we may not write over it.
Result<void> check_writable(const google::protobuf::Message& stored);

/// What is wrong with a value of that format; "": nothing.
[[nodiscard]] std::string format_error(v1::Format format, const std::string& value);

/// "port vm1 (...): mac: <why>".
[[nodiscard]] Error field_error(const google::protobuf::Message& resource, std::string_view field,
                                std::string_view why);

}  // namespace plexus::store
