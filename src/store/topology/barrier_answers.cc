// SPDX-License-Identifier: Apache-2.0
#include "store/topology/barrier_answers.h"

#include "base/log.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"

namespace plexus::store {

BarrierAnswers::BarrierAnswers(Store& store) : record_(store, barrier_path()) {}

namespace {
constexpr Duration kFirstSync = std::chrono::milliseconds(300);
constexpr Duration kSyncInterval = std::chrono::seconds(1);
}  // namespace

bool BarrierAnswers::wants_sync(MonoTime now) {
  if (!open_ || now < next_sync_) return false;
  next_sync_ = now + kSyncInterval;
  return true;
}

void BarrierAnswers::process(MonoTime now) {
  const auto news = record_.take();
  if (!news) return;
  open_.reset();
  if (!*news) return;
  v1::Barrier barrier;
  const bool decoded = barrier.ParseFromString((*news)->value);
  const auto id = Uuid::from_bytes(barrier.id());
  if (!decoded || !id) return log_error("store", "the record {} is damaged", barrier_path());
  open_ = BarrierQuestion{*id, Revision{barrier.revision()}};
  next_sync_ = now + kFirstSync;
}

Result<void> answer_barrier(Store& store, HostId self, const BarrierQuestion& question) {
  const std::string path = barrier_answers_path(question.id) + "/" + self.str();
  const auto done = store.transact({Create{path, "", access_of(path)}});
  if (done.ok() || done.error().code == ErrorCode::exists ||
      done.error().code == ErrorCode::not_found) {
    return Ok{};
  }
  return done.error().in("answering a convergence question");
}

}  // namespace plexus::store
