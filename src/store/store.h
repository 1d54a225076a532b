// SPDX-License-Identifier: Apache-2.0
// Store: the seam to where the topology lives. Keys are paths, values are bytes, every record has a
// version. Providers: `embedded` (SQLite, many processes of one machine), `zookeeper` (many machines).
// One conformance suite holds for all.
//
// Contract of watch: level-triggered. You end at the latest state, revisions never go back, nothing
// is missed for good; you may not see every version in between.
//
// Threads: every method may be called from any thread. Watch callbacks run on the store's own
// thread, one at a time; they must be quick and must not call back into the store: post to a
// mailbox.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace plexus::store {

/// Paths: "/a/b", components of printable ASCII without '/', none of them "." or "..".
inline constexpr size_t kMaxPathBytes = 512;
inline constexpr size_t kMaxValueBytes = 512 * 1024;

/// Orders the commits of one store's life. 0: before any.
struct Revision {
  int64_t value = 0;
  auto operator<=>(const Revision&) const = default;
};

struct Record {
  std::string value;
  int64_t version = 0;  ///< 1 at creation, +1 at each change; a re-created record starts again
  Revision revision;    ///< of its last change
};

/// Who may read and write a record, where the store knows who is asking (zookeeper with identities).
/// The API may do everything; hosts may read what is not secret.
struct Access {
  bool secret = false;             ///< only the API reads it
  bool any_host = false;           ///< every host may write it and make records below it
  std::vector<HostId> hosts = {};  ///< these hosts may, too
  bool operator==(const Access&) const = default;
};

/// Steps of one transaction. All hold, or nothing happens.
struct CheckVersion {
  std::string path;
  int64_t version = 0;  ///< 0: must not exist
};
struct Create {
  std::string path;
  std::string value;
  Access access = {};
};
struct Set {
  std::string path;
  std::string value;
  int64_t version = 0;                ///< must be at this version
  std::optional<Access> access = {};  ///< given: from now on this
};
/// Fails with in_use when records lie below the path (`path/...`).
struct Delete {
  std::string path;
  int64_t version = 0;
};
/// Creates the next record of a sequence: `path/e0000000000`, `path/e0000000001`, ... The numbers have
/// no gaps and are not used again, also when records were deleted meanwhile. Nobody's step conflicts
/// with it.
struct Append {
  std::string path;  ///< of the sequence
  std::string value;
  Access access = {};
};
using Step = std::variant<CheckVersion, Create, Set, Delete, Append>;

/// The path of one record of a sequence.
[[nodiscard]] std::string sequence_path(std::string_view path, uint32_t number);

/// What a watch reports: the record now, or nullopt while it does not exist.
struct WatchEvent {
  std::string path;
  std::optional<Record> record;
  /// Everything committed up to here has been read for this path.
  Revision revision;
};
using WatchCallback = std::function<void(const WatchEvent&)>;

/// Ends the watch when destroyed; after that the callback does not run any more. (It may be
/// destroyed by its own callback. Destroying it waits for a callback that is running: hold no lock
/// that the callback takes.)
class Watch {
 public:
  virtual ~Watch() = default;
};

/// Whether the store answered when it was last asked; it is asked once a second at least.
enum class Health : uint8_t { up, down };

class Store {
 public:
  virtual ~Store() = default;

  [[nodiscard]] virtual std::string kind() const = 0;

  /// nullopt: no such record. unavailable: the store does not answer.
  virtual Result<std::optional<Record>> get(std::string_view path) = 0;
  /// Several at once, in order; cheaper than one by one.
  virtual Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) = 0;
  /// Names (not paths) of the records and directories directly below `directory`, sorted.
  virtual Result<std::vector<std::string>> list(std::string_view directory) = 0;
  /// The same, cheap however many they are, for who looks at the records next or knows that only records lie
  /// there: directories in which nothing is left may be among them for a while.
  virtual Result<std::vector<std::string>> names(std::string_view directory) {
    return list(directory);
  }
  /// All records below `directory`, any depth, sorted by path. For the API, dump and check; agents
  /// never list.
  virtual Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) = 0;
  /// Steps see what earlier ones did. conflict: a version check failed (the message names the
  /// path); exists / not_found / in_use / no_space likewise. Steps that only check change nothing,
  /// the revision neither. After `unavailable` the outcome may be unknown.
  virtual Result<Revision> transact(const std::vector<Step>& steps) = 0;

  /// Reports the state now, and each later state. Never fails: while the store is down there is
  /// just nothing to say.
  [[nodiscard]] virtual std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) = 0;

  /// Runs on the store's thread when all that is committed up to the given revision has been
  /// reported to the watches, theirs and those newly made: what they know then is one consistent
  /// state. Called after each group of reports, and once soon after this call.
  [[nodiscard]] virtual std::unique_ptr<Watch> watch_settled(
      std::function<void(Revision)> callback) = 0;

  /// A record that goes away some time after this process does, or when this Store is closed; after
  /// a freeze of the process it may or may not be there. Created or taken over.
  virtual Result<void> put_ephemeral(std::string_view path, std::string_view value) = 0;

  /// Returns when everything committed before the call is visible to this process, and a revision
  /// that is not older than any of it (nor newer than what is committed after the call returns).
  virtual Result<Revision> sync() = 0;

  [[nodiscard]] virtual Health health() const = 0;
};

/// Who we are to a store that asks: the content of an identity file, see identity.h. Empty: a store
/// that everybody may write.
struct OpenOptions {
  std::string identity = {};
  bool create = true;  ///< embedded: makes the store when there is none; without: not_found
};

/// Opens a store by its address: "embedded:/var/lib/plexus/store" or
/// "zookeeper:HOST:PORT[,HOST:PORT...][/CHROOT]". invalid: unknown scheme, with the known ones named.
[[nodiscard]] Result<std::unique_ptr<Store>> open_store(std::string_view address,
                                                        const OpenOptions& options = {});

}  // namespace plexus::store
