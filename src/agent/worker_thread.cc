// SPDX-License-Identifier: Apache-2.0
#include "agent/worker_thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace plexus::agent {

using namespace std::chrono_literals;

WorkerThread::WorkerThread(std::unique_ptr<datapath::Datapath> datapath, WorkerOptions options,
                           LearnedBox& learned)
    : datapath_(std::move(datapath)),
      worker_(*datapath_, options),
      learned_(learned),
      applied_event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      thread_([this](std::stop_token stop) { run(stop); }) {}

WorkerThread::~WorkerThread() {
  thread_.request_stop();
  (void)mailbox_.post([](Worker&) {});  // wakes it; when the mailbox is full it is awake
  thread_.join();
}

void WorkerThread::clear_applied() {
  uint64_t count = 0;
  [[maybe_unused]] auto n = ::read(applied_event_.get(), &count, sizeof count);
}

void WorkerThread::run(std::stop_token stop) {
  constexpr Duration kTick = 1s;
  MonoTime next_tick = mono_now() + kTick;
  while (!stop.stop_requested()) {
    const auto until_tick =
        std::chrono::duration_cast<std::chrono::milliseconds>(next_tick - mono_now());
    pollfd fds[] = {{mailbox_.fd(), POLLIN, 0}, {datapath_->upcall_fd(), POLLIN, 0}};
    ::poll(fds, 2,
           worker_.busy() ? 0 : static_cast<int>(std::max<int64_t>(0, until_tick.count() + 1)));
    for (auto& task : mailbox_.take()) {
      task(worker_);
      if (worker_.epoch() == applied_.load(std::memory_order_relaxed)) continue;
      applied_at_.store(mono_now().ns, std::memory_order_release);
      applied_.store(worker_.epoch(), std::memory_order_release);
      const uint64_t one = 1;
      [[maybe_unused]] auto n = ::write(applied_event_.get(), &one, sizeof one);
    }
    worker_.run_once(mono_now());
    if (const MonoTime now = mono_now(); now >= next_tick) {
      worker_.tick(now);
      next_tick = now + kTick;
    }
    if (auto writes = worker_.take_writes(); !writes.empty())
      (void)learned_.post(std::move(writes));
  }
}

}  // namespace plexus::agent
