// SPDX-License-Identifier: Apache-2.0
// plexus-bench-swarm: many sessions of one store in one process, for ./bench control.
//
//   sessions  many watch one record; how long after a change until the last has read it again
//   hosts     that only register, live and say how far they are when asked; until SIGTERM
//   raw-sessions, raw-hosts
//             the same on the wire, by sessions that are nothing else: all in one thread
//   bind      reads lines "HOST PORT" (UUIDs) and says in the store that the port is on that host
//
// Prints one JSON object.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "raw_swarm.h"
#include "store/store.h"
#include "store/topology/barrier_answers.h"
#include "store/topology/host_records.h"
#include "store/topology/reader.h"

namespace plexus {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kWarmUp = 30;

struct Options {
  std::string mode;
  std::string store;
  int count = 1000;
  int changes = 20;
  size_t bytes = 2500;
};

int fail(const Error& error) {
  fmt::print(stderr, "plexus-bench-swarm: {}\n", error.message);
  return 1;
}

/// Each session has some descriptors of its own.
void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

std::string joined(const std::vector<double>& values) {
  return fmt::format("[{:.3f}]", fmt::join(values, ", "));
}

double milliseconds(Duration d) {
  return static_cast<double>(d.count()) / 1e6;
}

/// A session: a store of its own, and the newest version of the record that it has seen.
struct Session {
  std::unique_ptr<store::Store> store;
  std::unique_ptr<store::Watch> watch;
};

/// How many sessions have seen the version that is waited for, and when the last of them did.
struct Tally {
  std::atomic<int64_t> version{0};
  std::atomic<int> seen{0};
  std::atomic<int64_t> last_ns{0};

  void expect(int64_t next) {
    seen = 0;
    last_ns = 0;
    version = next;
  }
  void saw(int64_t got) {
    // A session reports each version once: changes come one after the other.
    if (got != version) return;
    const int64_t now = mono_now().ns;
    int64_t last = last_ns.load();
    while (last < now && !last_ns.compare_exchange_weak(last, now)) {
    }
    ++seen;
  }
};

bool wait_for(const std::function<bool()>& condition, Duration patience) {
  const MonoTime give_up = mono_now() + patience;
  while (!condition()) {
    if (mono_now() > give_up) return false;
    std::this_thread::sleep_for(200us);
  }
  return true;
}

/// Makes the record that all will watch. At version 1.
Result<std::unique_ptr<store::Store>> make_record(const Options& options, const std::string& path) {
  auto writer = store::open_store(options.store);
  if (!writer) return writer.error();
  const auto old = (*writer)->get(path);
  if (!old) return old.error();
  if (*old) {
    const auto gone = (*writer)->transact({store::Delete{path, (*old)->version}});
    if (!gone) return gone.error();
  }
  const auto made = (*writer)->transact({store::Create{path, std::string(options.bytes, 'x'), {}}});
  if (!made) return made.error();
  return std::move(*writer);
}

/// Changes the record again and again, and prints how long after that all had read it.
int change_record(const Options& options, store::Store& writer, const std::string& path,
                  Tally& tally, MonoTime opening) {
  if (!wait_for([&] { return tally.seen == options.count; }, 120s)) {
    return fail({ErrorCode::unavailable, fmt::format("{} of {} sessions read the record at first",
                                                     tally.seen.load(), options.count)});
  }
  const double opened_s = milliseconds(mono_now() - opening) / 1000;
  std::string value(options.bytes, 'x');
  std::vector<double> after_commit, after_begin;
  // The first changes are not counted: a server in Java becomes fast while it runs.
  for (int64_t version = 1; version <= kWarmUp + options.changes; ++version) {
    std::this_thread::sleep_for(50ms);
    tally.expect(version + 1);
    value[0] = static_cast<char>('a' + version % 26);
    const MonoTime begin = mono_now();
    if (const auto set = writer.transact({store::Set{path, value, version, {}}}); !set) {
      return fail(set.error());
    }
    const MonoTime committed = mono_now();
    if (!wait_for([&] { return tally.seen >= options.count; }, 30s)) {
      return fail(
          {ErrorCode::unavailable, fmt::format("{} of {} sessions read version {} within 30 s",
                                               tally.seen.load(), options.count, version + 1)});
    }
    if (version <= kWarmUp) continue;
    const MonoTime last{tally.last_ns.load()};
    after_commit.push_back(std::max(0.0, milliseconds(last - committed)));
    after_begin.push_back(milliseconds(last - begin));
  }
  fmt::print(
      "{{\"sessions\": {}, \"opened_s\": {:.3f}, \"after_commit_ms\": {}, \"after_begin_ms\": "
      "{}}}\n",
      options.count, opened_s, joined(after_commit), joined(after_begin));
  return 0;
}

const std::string kBucket = "/bench/bucket";

int sessions(const Options& options) {
  auto writer = make_record(options, kBucket);
  if (!writer) return fail(writer.error());
  Tally tally;
  tally.expect(1);
  const MonoTime opening = mono_now();
  std::vector<Session> all(static_cast<size_t>(options.count));
  for (Session& session : all) {
    auto opened = store::open_store(options.store);
    if (!opened) return fail(opened.error());
    session.store = std::move(*opened);
    session.watch = session.store->watch(kBucket, [&tally](const store::WatchEvent& event) {
      if (event.record) tally.saw(event.record->version);
    });
  }
  return change_record(options, **writer, kBucket, tally, opening);
}

int raw_sessions(const Options& options) {
  const auto place = bench::raw_place(options.store);
  if (!place) return fail(place.error());
  auto writer = make_record(options, kBucket);
  if (!writer) return fail(writer.error());
  Tally tally;
  tally.expect(1);
  std::atomic<bool> stop{false};
  const MonoTime opening = mono_now();
  std::thread watchers([&] {
    const auto done = bench::raw_watchers(
        *place, options.count, kBucket, [&](int64_t version) { tally.saw(version); }, stop);
    if (!done) (void)fail(done.error());
  });
  const int status = change_record(options, **writer, kBucket, tally, opening);
  stop = true;
  watchers.join();
  return status;
}

/// A host without ports: its closure is what every host's holds. A thread each.
Result<void> live(const std::string& address, const std::string& name, std::atomic<int>& ready,
                  std::stop_token stop) {
  const HostId self{Uuid::random()};
  auto opened = store::open_store(address);
  if (!opened) return opened.error();
  store::Store& store = **opened;
  store::HostRecords records(store, self);
  const auto registered = records.register_host({.name = name, .tunnel_addresses = {}});
  if (!registered) return registered.error();
  if (const auto alive = records.announce_alive(registered->incarnation); !alive) return alive;
  store::ClosureReader reader(store, self, [](const store::ClosureBatch&) {});
  store::BarrierAnswers barriers(store);
  bool counted = false;
  while (!stop.stop_requested()) {
    Duration wait = 500ms;
    if (const auto deadline = reader.deadline()) wait = std::min(wait, *deadline - mono_now());
    pollfd fds[] = {{reader.fd(), POLLIN, 0}, {barriers.fd(), POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::max<int64_t>(0, wait / 1ms + 1)));
    const MonoTime now = mono_now();
    reader.process(now);
    barriers.process(now);
    if (reader.synced() && !counted) {
      ++ready;
      counted = true;
    }
    const auto question = barriers.open();
    if (!question) continue;
    if (reader.applied() < question->revision) {
      // As the agent does: a store in which nothing happens says how far it is when asked.
      if (reader.unconfirmed() == 0 && barriers.wants_sync(now)) {
        if (const auto synced = store.sync(); !synced) return synced.error();
      }
      continue;
    }
    if (const auto said = store::answer_barrier(store, self, *question); !said) return said;
    barriers.close();
  }
  return Ok{};
}

int hosts(const Options& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::atomic<int> ready{0};
  std::vector<std::jthread> threads;
  for (int n = 1; n <= options.count; ++n) {
    threads.emplace_back([&, n](std::stop_token stop) {
      const auto lived = live(options.store, fmt::format("s{}", n), ready, stop);
      if (!lived)
        fmt::print(stderr, "plexus-bench-swarm: host s{}: {}\n", n, lived.error().message);
    });
    // Some at a time: they would only wait for one another.
    (void)wait_for([&] { return ready > n - 16; }, 10s);
  }
  if (!wait_for([&] { return ready == options.count; }, 300s)) {
    return fail({ErrorCode::unavailable,
                 fmt::format("{} of {} hosts are ready", ready.load(), options.count)});
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  return 0;
}

int raw_hosts(const Options& options) {
  static std::atomic<bool> stop{false};
  for (const int signal : {SIGTERM, SIGINT}) ::signal(signal, [](int) { stop = true; });
  const auto ready = [] {
    fmt::print("ready\n");
    std::fflush(stdout);
  };
  const auto lived = bench::raw_hosts(options.store, options.count, ready, stop);
  return lived ? 0 : fail(lived.error());
}

int bind(const Options& options) {
  auto store = store::open_store(options.store);
  if (!store) return fail(store.error());
  std::map<Uuid, store::HostRecords> hosts;
  const MonoTime begin = mono_now();
  int bound = 0;
  std::string host_text, port_text;
  while (std::cin >> host_text >> port_text) {
    const auto host = Uuid::parse(host_text);
    const auto port = Uuid::parse(port_text);
    if (!host || !port) return fail({ErrorCode::invalid, "a line is not two UUIDs"});
    auto& records = hosts.try_emplace(*host, **store, HostId{*host}).first->second;
    if (const auto done = records.publish(PortId{*port}); !done) return fail(done.error());
    ++bound;
  }
  fmt::print("{{\"bound\": {}, \"seconds\": {:.3f}}}\n", bound,
             milliseconds(mono_now() - begin) / 1000);
  return 0;
}

int usage() {
  fmt::print(stderr,
             "usage: plexus-bench-swarm sessions|hosts|raw-sessions|raw-hosts|bind --store ADDRESS "
             "[--count N] [--changes N] [--bytes N]\n");
  return 2;
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  plexus::Options options;
  if (argc < 2) return plexus::usage();
  options.mode = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--store") {
      options.store = argv[i + 1];
    } else if (name == "--count") {
      options.count = std::atoi(argv[i + 1]);
    } else if (name == "--changes") {
      options.changes = std::atoi(argv[i + 1]);
    } else if (name == "--bytes") {
      options.bytes = static_cast<size_t>(std::atoi(argv[i + 1]));
    } else {
      return plexus::usage();
    }
  }
  plexus::allow_many_files();
  plexus::set_log_level(plexus::LogLevel::error);
  if (options.mode == "sessions") return plexus::sessions(options);
  if (options.mode == "hosts") return plexus::hosts(options);
  if (options.mode == "raw-sessions") return plexus::raw_sessions(options);
  if (options.mode == "raw-hosts") return plexus::raw_hosts(options);
  if (options.mode == "bind") return plexus::bind(options);
  return plexus::usage();
}
