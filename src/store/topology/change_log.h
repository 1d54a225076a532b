// SPDX-License-Identifier: Apache-2.0
// The change log: one entry for each transaction that changed resources, in the order in which they
// were committed; numbers have no gaps. Watch streams and the audit log are made of it. Old entries
// are trimmed.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "plexus/v1/state.pb.h"
#include "store/store.h"

namespace plexus::store {

/// Who does it; goes into the log.
struct Author {
  std::string who;          ///< "token ops", "root by unix socket", "host h1"
  std::string request;      ///< id of the request
  std::string tenant = {};  ///< is told of this tenant's things only; empty: of all
};

/// What one resource's change looks like in the log. `before`, `now`: null when it did not or does
/// not exist; not both. Names of fields, never their values.
[[nodiscard]] v1::LogChange log_change(const google::protobuf::Message* before,
                                       const google::protobuf::Message* now);
/// An entry of this moment, without changes yet.
[[nodiscard]] v1::LogEntry new_log_entry(const Author& author);

struct LogRecord {
  uint32_t number = 0;
  Revision revision;  ///< of the commit that made the changes
  v1::LogEntry entry;
};

/// The numbers of the entries that are there: first <= n < next. Both 0: nothing was ever logged.
struct LogRange {
  uint32_t first = 0;
  uint32_t next = 0;
};
/// Lists the log: for the start and after a trim, not for each change.
Result<LogRange> log_range(Store& store);

/// Entries `from`, `from` + 1, ... as far as they are there, at most `limit`. To wait for more, watch
/// sequence_path(log_path(), number after the last). not_found: `from` has been trimmed.
Result<std::vector<LogRecord>> read_log(Store& store, uint32_t from, size_t limit);

/// Removes all but the newest `keep` entries (at least one stays, so that the numbers are known).
/// How many were removed. Several may do it at once.
Result<size_t> trim_log(Store& store, size_t keep);

}  // namespace plexus::store
