// SPDX-License-Identifier: Apache-2.0
// The disk snapshot of a closure: the store's records as they were, not what this build made of them, so that another
// build may read it. One file, one checksum over everything:
//
//   "plexsnap"  u32 format  u32 crc32c (of all bytes but these four)
//   host[16]  store life[16]  i64 revision  i64 taken (ms since 1970)  u32 count
//   count times:  u8 kind  u8 index  u8 present  u32 bucket  id[16]  i64 version  u32 size  bytes[size]
//
// Numbers are little endian. A file that is damaged, cut short, of another host or of a newer format is refused as a
// whole. The file before is kept as <path>.1.
//
// Threads: any; no state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"
#include "store/topology/closure_key.h"

namespace plexus::store {

struct ClosureFile {
  HostId host;
  Uuid life;  ///< of the store (gen_path()); nil when it was not known
  Revision revision;
  int64_t taken_ms = 0;  ///< since 1970
  std::vector<ClosureRecord> records;
};

/// Builds the bytes of a file record by record.
class ClosureFileWriter {
 public:
  ClosureFileWriter(HostId host, const Uuid& life, Revision revision, int64_t taken_ms);
  /// `value` null: it is known that there is no such record.
  void add(const ClosureKey& key, const std::string* value, int64_t version);
  /// The whole file; the writer is used up.
  [[nodiscard]] std::string finish();

 private:
  std::string bytes_;
  uint32_t count_ = 0;
};

/// invalid: damaged, or of another host; unsupported: of a newer format. The message says which.
[[nodiscard]] Result<ClosureFile> parse_closure_file(std::string_view bytes, HostId self);

/// Writes a file beside `path`, has it on the disk, and only then puts it in its place; what was there becomes
/// <path>.1. On an error the old files are as they were.
[[nodiscard]] Result<void> save_closure_file(const std::string& path, std::string_view bytes);

/// What the disk has: the newest file that can be used. `refused` says what is wrong with those that cannot. not_found:
/// there is no file at all.
struct LoadedClosure {
  ClosureFile file;
  std::string path;
};
[[nodiscard]] Result<LoadedClosure> load_closure_file(const std::string& path, HostId self,
                                                      std::vector<std::string>& refused);

}  // namespace plexus::store
