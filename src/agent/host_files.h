// SPDX-License-Identifier: Apache-2.0
// What an agent keeps on its machine besides the disk snapshot: who the machine is, how often it has started, and that
// it is running. Short; any thread, one at a time.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace plexus::agent {

/// Makes a directory that may be there already, and those above it.
[[nodiscard]] Result<void> make_directory(const std::string& path);

/// Replaces a small file at once, and has it on the disk.
[[nodiscard]] Result<void> write_small_file(const std::string& path, const std::string& text);

/// What /etc/machine-id (`system_file`) says; where there is none, an id of our own kept in `state_dir`.
[[nodiscard]] Result<std::string> machine_id(const std::string& system_file,
                                             const std::string& state_dir);

/// What tells this boot of the machine from others.
[[nodiscard]] Result<Uuid> boot_id();

/// The text of an identity file. denied: somebody besides the owner can read it.
[[nodiscard]] Result<std::string> read_identity(const std::string& path);

/// Counts this start: one more than the file in `state_dir` says, and says it there. A file that is not readable as a
/// number counts as none.
[[nodiscard]] Result<uint32_t> count_start(const std::string& state_dir);
[[nodiscard]] Result<void> keep_start_count(const std::string& state_dir, uint32_t count);

/// Locks the file at `path` until the process ends, waiting a moment for an agent that is just ending. in_use: another
/// process has it; the message names it, and `what` it holds.
[[nodiscard]] Result<UniqueFd> lock_file(const std::string& path, const std::string& what);

}  // namespace plexus::agent
