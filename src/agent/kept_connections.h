// SPDX-License-Identifier: Apache-2.0
// KeptConnections: which slot of the file of connections each record of the table has, and when a record is worth writing again.
// A disk that does not take them is no reason to stop: it is told of, and tried again every minute.
//
// One thread: the worker's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/connection_file.h"
#include "base/clock.h"
#include "base/ids.h"
#include "state/connection_table.h"

namespace plexus::agent {

class KeptConnections {
 public:
  /// What ConnectionFile::open() takes.
  struct Place {
    std::string path;
    HostId host;
    Uuid boot;
  };

  /// Puts into the table what the file has and the table takes.
  KeptConnections(Place place, state::ConnectionTable& table, MonoTime now);

  /// Writes the record; after facts have changed.
  void keep(state::ConnectionNumber number, MonoTime now);
  /// The record has been used. Writes it when the disk believes it to be a quarter of its timeout older than it is.
  void used(state::ConnectionNumber number, MonoTime now);
  void forget(state::ConnectionNumber number);
  /// Without a file: tries again now and then, and writes all that is in the table then.
  void tick(MonoTime now);

  /// Why nothing can be kept, or not everything; empty: all is kept.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] size_t restored() const { return restored_; }

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  struct Slot {
    uint32_t slot = kNone;
    MonoTime used;  ///< as the disk has it
  };

  void open(MonoTime now);
  void say(std::string trouble);
  [[nodiscard]] Slot& slot_of(state::ConnectionNumber number);

  const Place place_;
  state::ConnectionTable& table_;
  std::unique_ptr<ConnectionFile> file_;
  std::vector<Slot> slots_;  ///< by number of the record
  std::string trouble_;
  size_t restored_ = 0;
  bool tried_ = false;  ///< to open the file
  MonoTime next_try_;
};

}  // namespace plexus::agent
