// SPDX-License-Identifier: Apache-2.0
// ConnectionFile: the connections of a worker on the disk, so that an agent that is killed finds them again. Slots of fixed
// size in a mapped file: keeping one is a copy into memory, no system call; what the process has written is there after kill -9.
// After a crash of the machine the file may be anything: each slot says by checksum whether it is whole.
//
//   page 0   "plexconn", format (4), bytes of a slot (4), host (16), checksum of these (8)
//   slots    checksum of the rest and of the slot's number (8), sequence (8), when written (8, CLOCK_MONOTONIC), boot (16),
//            length (4), record (state/connection_wire.h)
// Numbers of the file are in the byte order of the machine: it never leaves it.
//
// A newer record of a connection goes into another slot before the old one is emptied: whenever the process ends, one of the
// two is whole. Space is allocated before it is mapped (posix_fallocate): a full disk is an error here and never a signal.
//
// Locked as long as it is open. One thread: the worker's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "state/connection.h"

namespace plexus::agent {

class ConnectionFile {
 public:
  using Slot = uint32_t;
  static constexpr size_t kSlotBytes = 512;
  /// The file grows by so many slots at once.
  static constexpr size_t kGrowth = 4096;

  /// Called for one of each zone and original that is there.
  using Restored = std::function<void(Slot, const state::Connection&)>;
  struct Opened {
    std::unique_ptr<ConnectionFile> file;  ///< none: nothing can be kept now, `trouble` says why
    size_t torn = 0;                       ///< slots that were not whole
    std::string trouble;
    std::string
        set_aside;  ///< where a file went that was not ours, or not readable; empty: none was
  };
  /// Opens or makes the file. A file of another host, another format or with a broken head is renamed to `path`.set-aside and a
  /// new one begun. `boot`: what tells this boot of the machine from others (/proc/sys/kernel/random/boot_id); records of
  /// another count as used now, since the clock has begun anew. in_use: another process has it open. Other errors: it
  /// cannot be read. Not all connections are in memory at once: there may be a million.
  [[nodiscard]] static Result<Opened> open(const std::string& path, const HostId& host,
                                           const Uuid& boot, MonoTime now, size_t limit,
                                           const Restored& restored);

  ConnectionFile(const ConnectionFile&) = delete;
  ConnectionFile& operator=(const ConnectionFile&) = delete;
  ~ConnectionFile();

  /// Keeps a connection, in place of what `old` holds. Its slot from now on. no_space: `limit` slots are in use, or the
  /// disk is full; `old` is as it was.
  [[nodiscard]] Result<Slot> keep(std::optional<Slot> old, const state::Connection& connection,
                                  MonoTime now);
  /// Empties a slot in use.
  void forget(Slot slot);

  /// Slots in use, and those that there is room for without growing.
  [[nodiscard]] size_t size() const { return used_; }
  [[nodiscard]] size_t capacity() const { return in_use_.size(); }

 private:
  ConnectionFile(UniqueFd fd, const HostId& host, const Uuid& boot, size_t limit);
  /// Reads all slots, twice: which of them count, then those.
  [[nodiscard]] Result<void> restore(Opened& opened, MonoTime now, const Restored& restored);
  /// Room for `slots`, allocated and mapped.
  [[nodiscard]] Result<void> map(size_t slots);
  [[nodiscard]] std::span<uint8_t> bytes_of(Slot slot);
  void write(Slot slot, std::span<const uint8_t> record, MonoTime now);

  UniqueFd fd_;
  const HostId host_;
  const Uuid boot_;
  const size_t limit_;
  uint8_t* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  std::vector<bool> in_use_;
  std::vector<Slot> free_;
  size_t used_ = 0;
  uint64_t sequence_ = 0;  ///< the last one given
};

}  // namespace plexus::agent
