// SPDX-License-Identifier: Apache-2.0
#include "agent/snapshot_keeper.h"

#include "base/log.h"
#include "store/topology/closure_file.h"

namespace plexus::agent {

SnapshotKeeper::SnapshotKeeper(std::string path)
    : path_(std::move(path)), thread_([this](std::stop_token stop) { run(stop); }) {}

SnapshotKeeper::~SnapshotKeeper() {
  thread_.request_stop();
  thread_.join();
}

void SnapshotKeeper::save(std::string bytes, store::Revision revision, int64_t taken_ms) {
  {
    std::lock_guard lock(mutex_);
    waiting_ = Job{std::move(bytes), revision, taken_ms};
  }
  woken_.notify_all();
}

SnapshotKeeper::Status SnapshotKeeper::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void SnapshotKeeper::run(std::stop_token stop) {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      woken_.wait(lock, stop, [&] { return waiting_.has_value(); });
      if (!waiting_) return;  // stopped, and nothing waits
      job = std::move(*waiting_);
      waiting_.reset();
    }
    write(job);
  }
}

void SnapshotKeeper::write(const Job& job) {
  const auto saved = store::save_closure_file(path_, job.bytes);
  std::lock_guard lock(mutex_);
  if (!saved) {
    ++status_.failed;
    const std::string trouble = saved.error().message;
    if (trouble != status_.trouble) {
      log_warn("agent", "the disk snapshot could not be written; the old one stays: {}", trouble);
    }
    status_.trouble = trouble;
    return;
  }
  if (!status_.trouble.empty()) log_info("agent", "the disk snapshot can be written again");
  status_.trouble.clear();
  ++status_.written;
  status_.taken_ms = job.taken_ms;
  status_.revision = job.revision;
  status_.bytes = job.bytes.size();
}

}  // namespace plexus::agent
