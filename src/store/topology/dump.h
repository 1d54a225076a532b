// SPDX-License-Identifier: Apache-2.0
// A copy of a store in a file, and back: backup, restore, and the way from one kind of store to
// another. The file is text:
//   plexus-store-dump 1
//   gen <id of the store's life>
//   revision <of the store then>
//   time <2026-11-25T20:00:00Z>
//   secrets yes | no
//   count <records>
//   <path> <value in base64>            sorted by path
//   end <CRC-32 of all lines before, 8 hex digits>
// What passes (liveness, convergence questions) is left out. A loaded store begins a new life, and
// its log is numbered anew.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

struct Dump {
  std::string gen;
  int64_t revision = 0;
  std::string time;
  bool secrets = true;
  std::vector<std::pair<std::string, std::string>> records;  ///< path, value; sorted
};

/// Reads the whole store, as it was at one moment. unavailable: it changes all the time.
/// `with_secrets` false: the hashes of tokens are left out, so these tokens will not work.
Result<Dump> dump_store(Store& store, bool with_secrets);

[[nodiscard]] std::string dump_text(const Dump& dump);
/// invalid: no dump, or a damaged one (says where); unsupported: of a newer format.
Result<Dump> parse_dump(std::string_view text);

struct LoadOptions {
  bool force = false;  ///< removes what is there
  /// Is told how far it is: "removed", 300, 5000.
  std::function<void(const char* what, size_t done, size_t all)> progress = {};
};
/// Puts the dump into the store. exists: it holds something, and there is no `force`; then nothing
/// was touched. Interrupted, it leaves a mark: whoever loads again begins anew.
Result<void> load_dump(Store& store, const Dump& dump, const LoadOptions& options);

/// Whether a load was begun and not finished.
Result<bool> load_interrupted(Store& store);

}  // namespace plexus::store
