// SPDX-License-Identifier: Apache-2.0
// ClosureReader: follows the part of the topology that one host needs, its closure, and reports it
// as batches of model changes. The closure: the ports wanted on this host, their devices, all ports
// of these devices, what those are wired to, and so on; the routes of the routers; the bindings of
// all these ports and the hosts they are on; what routers have learned; the outside ports that the host has; what filters there:
// chains and where they jump, rules, groups; what routers translate and balance, DHCP subnets, mirrors and where they send
// copies; sub-ports of the ports wanted here, and the parents of all. Of a security group that a rule names as the remote one,
// the buckets that list its members with their addresses,
// never the members themselves: they may be anywhere. It watches exact keys only.
//
// A batch is one consistent state of the store: it is reported when the store has nothing more to
// say and every key of the closure has been read. When that takes longer than kMaxDelay after a
// change, the batch goes out incomplete (references in it may dangle; `consistent` is false), without
// chains and rules: a chain of which a part is missing would accept too much. The
// first batch is the exception: it waits until the whole closure is there.
//
// It can start from records that somebody kept (a disk snapshot): what they amount to is published at once, without any
// store. When a store is followed then, or another one, or the same one after it was restored, everything is read again
// and only what differs becomes a change; the differences are held back until all has been read, for kMaxResyncDelay at
// most.
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
#include "store/topology/closure_key.h"

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
  static constexpr Duration kMaxResyncDelay = std::chrono::seconds(2);
  static constexpr size_t kMaxAsked = 2048;  ///< keys that wait for their first answer at a time
  using Publish = std::function<void(ClosureBatch)>;

  /// `publish` is called from process() and load().
  ClosureReader(HostId self, Publish publish);
  /// The same, following `store`.
  ClosureReader(Store& store, HostId self, Publish publish);
  ~ClosureReader();
  ClosureReader(const ClosureReader&) = delete;
  ClosureReader& operator=(const ClosureReader&) = delete;

  /// Takes in what was kept and publishes what it amounts to. Before any store is followed.
  void load(std::vector<ClosureRecord> records);
  /// Follows `store`, which must outlive the reader. Again: forgets that anything was ever confirmed, forgets nothing
  /// of what is known.
  void follow(Store& store);

  /// Readable while there is something to process.
  [[nodiscard]] int fd() const;
  /// Takes in what the store reported; publishes at most one batch. Never blocks.
  void process(MonoTime now);
  /// When process() must be called even if fd() stays silent.
  [[nodiscard]] std::optional<MonoTime> deadline() const;

  /// The first batch has been published (an empty closure too publishes an empty batch): the whole closure, or what
  /// was loaded.
  [[nodiscard]] bool synced() const;
  /// Keys watched, and of those the ones not read yet.
  [[nodiscard]] size_t watched() const;
  [[nodiscard]] size_t unread() const;
  /// Keys that the store followed now has said nothing about yet.
  [[nodiscard]] size_t unconfirmed() const;
  /// All that was committed up to here has been published, as far as it concerns us; 0: not yet since follow().
  [[nodiscard]] Revision applied() const;
  /// Bytes of paths and records that the store has reported so far.
  [[nodiscard]] uint64_t received() const;
  /// Grows when anything that each_record() shows has another value.
  [[nodiscard]] uint64_t changes() const;
  /// Everything known, also of what does not exist: null.
  void each_record(const std::function<void(const ClosureKey&, const std::string*,
                                            int64_t version)>& visit) const;

 private:
  class Closure;
  std::unique_ptr<Closure> closure_;
};

}  // namespace plexus::store
