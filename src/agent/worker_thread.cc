// SPDX-License-Identifier: Apache-2.0
#include "agent/worker_thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"

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

bool WorkerThread::listen(const IpAddr& address, uint16_t port) {
  return mailbox_.post([this, address, port](Worker&) {
    peer_address_ = address;
    peer_port_ = port;
    next_listen_ = {};
  });
}

/// The address may come later than the wish for it.
void WorkerThread::listen_again(MonoTime now) {
  if (peer_address_.is_none() || peers_.local() == peer_address_ || now < next_listen_) return;
  next_listen_ = now + 1s;
  const auto done = peers_.listen(peer_address_, peer_port_);
  const std::string trouble = done ? "" : done.error().message;
  std::lock_guard lock(peer_mutex_);
  if (trouble != peer_trouble_ && !trouble.empty()) log_warn("worker", "{}", trouble);
  peer_trouble_ = trouble;
}

void WorkerThread::talk_to_peers() {
  constexpr size_t kDatagrams = 256;  // between two batches of upcalls
  peers_.receive(kDatagrams, [&](const IpAddr& from, std::span<const uint8_t> bytes) {
    worker_.receive(from, bytes, mono_now());
  });
  for (const PeerMessage& message : worker_.take_messages()) {
    const model::Host* host = worker_.snapshot().host(message.to);
    if (host == nullptr || host->fenced) continue;
    const auto address =
        std::find_if(host->tunnel_addresses.begin(), host->tunnel_addresses.end(),
                     [&](const IpAddr& a) { return a.family == peers_.local().family; });
    // What is lost is told again.
    if (address != host->tunnel_addresses.end()) (void)peers_.send(*address, message.bytes);
  }
}

void WorkerThread::run(std::stop_token stop) {
  constexpr Duration kTick = 1s;
  MonoTime next_tick = mono_now() + kTick;
  while (!stop.stop_requested()) {
    const MonoTime due = std::min(next_tick, worker_.next_due().value_or(next_tick));
    const auto until_due = std::chrono::duration_cast<std::chrono::milliseconds>(due - mono_now());
    pollfd fds[] = {
        {mailbox_.fd(), POLLIN, 0}, {datapath_->upcall_fd(), POLLIN, 0}, {peers_.fd(), POLLIN, 0}};
    ::poll(fds, 3,
           worker_.busy() ? 0 : static_cast<int>(std::max<int64_t>(0, until_due.count() + 1)));
    for (auto& task : mailbox_.take()) {
      task(worker_);
      if (worker_.epoch() == applied_.load(std::memory_order_relaxed)) continue;
      applied_at_.store(mono_now().ns, std::memory_order_release);
      applied_.store(worker_.epoch(), std::memory_order_release);
      const uint64_t one = 1;
      [[maybe_unused]] auto n = ::write(applied_event_.get(), &one, sizeof one);
    }
    worker_.run_once(mono_now());
    listen_again(mono_now());
    talk_to_peers();
    if (const MonoTime now = mono_now(); now >= next_tick) {
      worker_.tick(now);
      next_tick = now + kTick;
    }
    if (auto writes = worker_.take_writes(); !writes.empty())
      (void)learned_.post(std::move(writes));
  }
}

}  // namespace plexus::agent
