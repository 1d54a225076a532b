// SPDX-License-Identifier: Apache-2.0
// The schema level of a cloud: that of the oldest program that reads its store. What needs a higher
// one is refused, so that no agent meets a record that it must not decide by. An operator raises it
// when all hosts run newer programs.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>

#include "base/result.h"
#include "store/topology/transaction.h"

namespace plexus::store {

/// The level that the values of a resource need: the highest option min_level of what is set; 1 when
/// there is none.
[[nodiscard]] uint32_t level_needed(const google::protobuf::Message& resource);

/// Before `resource` is written: invalid: it needs a level that the cloud does not have. Sets its
/// min_reader.
Result<void> apply_level(Transaction& transaction, google::protobuf::Message& resource);

/// The level of the cloud; 1 until it is raised.
Result<uint32_t> schema_level(Store& store);
/// invalid: not higher than it is, higher than what this program knows, or than what a host has
/// (names it).
Result<void> raise_schema_level(Store& store, uint32_t level);

}  // namespace plexus::store
