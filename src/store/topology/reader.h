// SPDX-License-Identifier: Apache-2.0
// ClosureReader: follows the part of the topology that one host needs, its closure, and reports it
// as batches of model changes. The closure: the ports wanted on this host, their devices, all ports
// of these devices, what those are wired to, and so on; the routes of the routers; the bindings of
// all these ports and the hosts they are on; what routers have learned. It watches exact keys only.
//
// A batch is one consistent state of the store: it is reported when the store has nothing more to
// say and every key of the closure has been read. When that takes longer than kMaxDelay after a
// change, the batch goes out incomplete (references in it may dangle; `consistent` is false). The
// first batch is the exception: it waits until the whole closure is there.
//
// Threads: one thread owns the reader and calls everything. It polls fd() and calls process() when
// fd() is readable or deadline() has passed. The store's callbacks only leave a note in the inbox.
//
// Cost: a change costs what it touches (a bucket has about 100 entries). When something is no longer
// referred to, the closure in memory is walked once; nothing is read again.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/records.h"
#include "store/store.h"

namespace plexus::store {

struct ClosureBatch {
  std::vector<model::Change>
      changes;        ///< one for each object; nullopt: gone, or out of the closure
  Revision revision;  ///< the state that it brings us to
  bool consistent = true;
};

class ClosureReader {
 public:
  static constexpr Duration kMaxDelay = std::chrono::milliseconds(50);
  using Publish = std::function<void(ClosureBatch)>;

  /// `publish` is called from process(). `store` must outlive the reader.
  ClosureReader(Store& store, HostId self, Publish publish);
  ~ClosureReader();
  ClosureReader(const ClosureReader&) = delete;
  ClosureReader& operator=(const ClosureReader&) = delete;

  /// Readable while there is something to process.
  [[nodiscard]] int fd() const;
  /// Takes in what the store reported; publishes at most one batch. Never blocks.
  void process(MonoTime now);
  /// When process() must be called even if fd() stays silent.
  [[nodiscard]] std::optional<MonoTime> deadline() const;

  /// The first batch, which is the whole closure, has been published (an empty closure too
  /// publishes an empty batch).
  [[nodiscard]] bool synced() const;
  /// Keys watched, and of those the ones not read yet.
  [[nodiscard]] size_t watched() const;
  [[nodiscard]] size_t unread() const;

 private:
  class Closure;
  std::unique_ptr<Closure> closure_;
};

}  // namespace plexus::store
