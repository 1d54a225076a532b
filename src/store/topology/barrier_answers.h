// SPDX-License-Identifier: Apache-2.0
// BarrierAnswers: what an agent does about the question "who has applied everything up to this revision?" (`plexus ...
// --wait`). It follows the record of the newest question and keeps it open until the agent has applied that much; the
// answer is an empty record of this host below the question. A newer question replaces an older one: who asked that has
// seen it answered by the others, or has given up.
//
// Threads: one thread owns it, polls fd() and calls process(). answer_barrier() may be called from any: it waits for the
// store.
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"
#include "store/topology/watched_record.h"

namespace plexus::store {

struct BarrierQuestion {
  Uuid id;
  Revision revision;  ///< what must have been applied
};

class BarrierAnswers {
 public:
  /// `store` must outlive this.
  explicit BarrierAnswers(Store& store);

  [[nodiscard]] int fd() const { return record_.fd(); }
  /// Takes in what the store reported.
  void process(MonoTime now);
  /// The question that waits for our answer.
  [[nodiscard]] const std::optional<BarrierQuestion>& open() const { return open_; }
  /// It does not wait any more: somebody answers it now.
  void close() { open_.reset(); }
  /// For a question that is ahead of what has been applied: whether the store should be asked to sync
  /// now. Not at once: the question is newer than what it asks about, so the store, having reported it,
  /// soon says that it has reported all before it. Then once a second.
  [[nodiscard]] bool wants_sync(MonoTime now);

 private:
  WatchedRecord record_;
  std::optional<BarrierQuestion> open_;
  MonoTime next_sync_;
};

/// Answers for `self`. That it is answered already, or that nobody waits any more, is no error.
Result<void> answer_barrier(Store& store, HostId self, const BarrierQuestion& question);

}  // namespace plexus::store
