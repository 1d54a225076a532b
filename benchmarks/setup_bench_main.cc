// SPDX-License-Identifier: Apache-2.0
// plexus-bench-setup: new classes, from the miss to the flow installed and the packet out. Started in the namespace of a host
// with interfaces tap0, tap1, ... of machines, tap-sink of the one that gets everything, and spare0. Prints one JSON object.
// benchmarks/setup.py and fairness.py drive it.
//
// --system plexus: an agent's worker thread and its eBPF datapath, with the options that an agent has, on CPU 0; for `peer`
// somebody else switches between these interfaces. The generator, and with it what the kernel does about a miss, runs on CPU 1.
#include <net/if.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "agent/worker_thread.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "generator/class_generator.h"
#include "setup_cloud.h"
#include "sim/delta_tags.h"

namespace plexus::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* kUsage =
    R"(usage: plexus-bench-setup CASE --sink-netns NAME [OPTION VALUE]...

  setup     N new classes, as fast as they arrive, at most --window on their way
  flood     new classes, as fast as they can be sent, for --seconds
  latency   N new classes, one at a time from the last machine, while the first sends --flood others a second

  --system WHAT       plexus (default) or peer
  --sink-netns NAME   the namespace (below /run/netns) of eth0, where tap-sink's packets arrive
  --run-dir DIR       of Plexus; default /run/plexus-bench/datapath
  --machines M        default 32
  --destinations D    default 4096; M times D classes
  --classes N         default 50000
  --window W          default 2048
  --seconds S         default 1
  --flood RATE        default 0: none
  --burst B           packets that a machine sends at once; default 32
)";

constexpr int kSystemCpu = 0, kGeneratorCpu = 1;

using Numbers = std::map<std::string, uint64_t>;

Result<void> run_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) return errno_error("choosing a CPU", errno);
  return {};
}

uint64_t thread_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

struct Settings {
  std::string what, system = "plexus", sink_netns, run_dir = "/run/plexus-bench/datapath";
  Numbers n = {{"machines", 32}, {"destinations", 4096}, {"classes", 50'000}, {"window", 2048},
               {"seconds", 1},   {"flood", 0},           {"burst", 32}};
  [[nodiscard]] uint32_t at(const char* name) const { return static_cast<uint32_t>(n.at(name)); }
};

Result<Settings> parse_settings(int argc, char** argv) {
  Settings s;
  if (argc > 1) s.what = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string_view value = argv[i + 1];
    if (name == "--system")
      s.system = value;
    else if (name == "--sink-netns")
      s.sink_netns = value;
    else if (name == "--run-dir")
      s.run_dir = value;
    else if (const auto it = s.n.find(name.substr(std::min<size_t>(2, name.size())));
             it != s.n.end())
      std::from_chars(value.data(), value.data() + value.size(), it->second);
    else
      return Error{ErrorCode::invalid, "unknown option " + name + "\n" + kUsage};
  }
  if ((s.what != "setup" && s.what != "flood" && s.what != "latency") || s.sink_netns.empty() ||
      s.at("machines") < 2 || s.at("burst") == 0 || s.at("destinations") == 0)
    return Error{ErrorCode::invalid, kUsage};
  return s;
}

/// What an agent has between the kernel and its topology.
class Plexus {
 public:
  static Result<std::unique_ptr<Plexus>> start(const Settings& s) {
    if (auto done = run_on(kSystemCpu); !done) return done.error();  // the thread inherits it
    datapath::EbpfOptions ebpf;
    ebpf.run_dir = s.run_dir;
    ebpf.upcall_rate = 10'000;
    auto datapath = datapath::EbpfDatapath::open(ebpf);
    if (!datapath) return datapath.error();
    agent::WorkerOptions options;
    options.max_flows = ebpf.max_flows - 1024;
    options.hash_seed = std::random_device{}();
    auto out = std::make_unique<Plexus>();
    out->datapath_ = datapath->get();
    out->worker_ =
        std::make_unique<agent::WorkerThread>(std::move(*datapath), options, out->learned_);
    if (auto done = run_on(kGeneratorCpu); !done) return done.error();
    const SetupCloud cloud(s.at("machines"), s.at("destinations"));
    out->topology_.apply(cloud.changes());
    std::vector<datapath::PortSpec> ports = {{cloud.sink_port(), "tap-sink"}};
    for (uint32_t m = 0; m < s.at("machines"); ++m)
      ports.push_back({cloud.machine_port(m), "tap" + std::to_string(m)});
    auto ready = out->worker_->call<Ok>(
        [ports, snapshot = out->topology_.snapshot()](agent::Worker& worker) -> Result<Ok> {
          for (const auto& port : ports)
            if (auto added = worker.datapath().add_port(port); !added) return added.error();
          worker.publish(snapshot, {}, 1, mono_now());
          return Ok{};
        });
    if (!ready) return ready.error();
    return out;
  }

  Result<void> stop() {
    auto done = worker_->call<Ok>([this](agent::Worker&) -> Result<Ok> {
      if (auto gone = datapath_->destroy(); !gone) return gone.error();
      return Ok{};
    });
    if (!done) return done.error();
    return {};
  }

  [[nodiscard]] Result<Numbers> numbers() {
    return worker_->call<Numbers>([](agent::Worker& worker) -> Result<Numbers> {
      const auto& mine = worker.counters();
      const auto kernel = worker.datapath().counters();
      uint64_t drops = 0;
      for (const auto& [reason, n] : mine.drops) drops += n;
      return Numbers{{"worker_nanoseconds", thread_ns()}, {"upcalls", mine.upcalls},
                     {"installed", mine.installed},       {"evicted", mine.evicted},
                     {"not_sent", mine.execute_failed},   {"dropped", drops},
                     {"misses", kernel.flow_misses},      {"hits", kernel.flow_hits},
                     {"limited", kernel.upcalls_limited}, {"lost", kernel.upcalls_lost}};
    });
  }

 private:
  agent::LearnedBox learned_{16};
  std::unique_ptr<agent::WorkerThread> worker_;
  datapath::EbpfDatapath* datapath_ = nullptr;
  model::Topology topology_{SetupCloud::self()};
};

class Bench {
 public:
  Bench(const Settings& s, ClassGenerator generator) : s_(s), generator_(std::move(generator)) {
    for (uint32_t m = 0; m < s.at("machines"); ++m) {
      ifindexes_.push_back(::if_nametoindex(("tap" + std::to_string(m)).c_str()));
      frames_.push_back(SetupCloud::frame(m, ClassGenerator::kClassPort));
      next_.push_back(0);
    }
  }

  Result<Numbers> run() {
    if (s_.what == "setup") return setup();
    return s_.what == "flood" ? flood() : latency();
  }

 private:
  /// The next classes of a machine; from the first again when all were there.
  Result<void> send(uint32_t machine, uint32_t count, const Frame& frame) {
    uint32_t& next = next_[machine];
    if (next + count > s_.at("destinations")) next = 0;
    const uint32_t first = SetupCloud::kFirstDestination + std::exchange(next, next + count);
    sent_ += count;
    return generator_.send(ifindexes_[machine], frame, first, count);
  }

  Result<Numbers> setup() {
    const uint64_t wanted = s_.at("classes"), window = s_.at("window");
    const uint64_t before = generator_.arrived();
    const MonoTime start = mono_now();
    MonoTime last = start, stuck = start;
    uint64_t seen = 0;
    uint32_t machine = 0;
    while (seen < wanted) {
      const uint64_t arrived = generator_.arrived() - before;
      const MonoTime now = mono_now();
      if (arrived > seen) {
        seen = arrived;
        last = stuck = now;
      } else if (now - stuck > 300ms) {
        break;  // the rest is lost
      }
      const uint64_t room = std::min(wanted - sent_, window - std::min(window, sent_ - seen));
      const auto burst = static_cast<uint32_t>(std::min<uint64_t>(room, s_.at("burst")));
      if (burst == 0 || (burst < s_.at("burst") && sent_ + burst < wanted)) continue;
      if (auto done = send(machine, burst, frames_[machine]); !done) return done.error();
      machine = (machine + 1) % s_.at("machines");
    }
    return Numbers{{"sent", sent_},
                   {"arrived", seen},
                   {"nanoseconds", static_cast<uint64_t>((last - start).count())}};
  }

  Result<Numbers> flood() {
    const MonoTime start = mono_now(), end = start + std::chrono::seconds(s_.at("seconds"));
    MonoTime now = start;
    for (uint32_t machine = 0; now < end; now = mono_now()) {
      if (auto done = send(machine, s_.at("burst"), frames_[machine]); !done) return done.error();
      machine = (machine + 1) % s_.at("machines");
    }
    return Numbers{{"sent", sent_},
                   {"arrived", generator_.arrived()},
                   {"nanoseconds", static_cast<uint64_t>((now - start).count())}};
  }

  Result<Numbers> latency() {
    const uint32_t prober = s_.at("machines") - 1;
    const Frame probe = SetupCloud::frame(prober, ClassGenerator::kProbePort);
    const uint64_t rate = s_.n.at("flood");
    std::minstd_rand random(1);
    const MonoTime start = mono_now();
    // The flood first: what it may send at once has gone when the first probe is sent.
    MonoTime next_probe = start + 400ms;
    std::vector<uint64_t> times;
    uint64_t lost = 0;
    for (uint64_t n = 0; n < s_.at("classes");) {
      const MonoTime now = mono_now();
      if (rate > 0 &&
          sent_ - n < static_cast<uint64_t>((now - start).count()) * rate / 1'000'000'000) {
        if (auto done = send(0, s_.at("burst"), frames_[0]); !done) return done.error();
      }
      if (now < next_probe) continue;
      next_probe = now + 1ms + Duration(random() % 1'000'000);
      const uint64_t before = generator_.probes_arrived();
      if (auto done = send(prober, 1, probe); !done) return done.error();
      ++n;
      const MonoTime patience = now + 100ms;
      while (generator_.probes_arrived() == before && mono_now() < patience) {
        if (rate > 0 &&
            sent_ - n < static_cast<uint64_t>((mono_now() - start).count()) * rate / 1'000'000'000)
          if (auto done = send(0, s_.at("burst"), frames_[0]); !done) return done.error();
      }
      if (generator_.probes_arrived() == before) {
        ++lost;
        continue;
      }
      auto time = generator_.probe_time(before);
      if (!time) return time.error();
      times.push_back(*time);
    }
    std::sort(times.begin(), times.end());
    const auto percentile = [&](size_t p) {
      return times.empty() ? 0 : times[std::min(times.size() - 1, times.size() * p / 100)];
    };
    return Numbers{{"probes", times.size()},
                   {"probes_lost", lost},
                   {"p50", percentile(50)},
                   {"p99", percentile(99)},
                   {"sent", sent_},
                   {"nanoseconds", static_cast<uint64_t>((mono_now() - start).count())}};
  }

  const Settings& s_;
  ClassGenerator generator_;
  std::vector<uint32_t> ifindexes_, next_;
  std::vector<Frame> frames_;
  uint64_t sent_ = 0;
};

Result<Numbers> measure(const Settings& s) {
  auto generator = ClassGenerator::open("spare0", {s.sink_netns, "eth0"});
  if (!generator) return generator.error();
  std::unique_ptr<Plexus> plexus;
  if (s.system == "plexus") {
    auto started = Plexus::start(s);
    if (!started) return started.error();
    plexus = std::move(*started);
  }
  if (auto done = run_on(kGeneratorCpu); !done) return done.error();
  Bench bench(s, std::move(*generator));
  Numbers before;
  if (plexus) {
    auto numbers = plexus->numbers();
    if (!numbers) return numbers.error();
    before = *numbers;
  }
  auto out = bench.run();
  if (plexus) {
    auto after = plexus->numbers();
    if (out && after)
      for (const auto& [name, value] : *after) (*out)[name] = value - before[name];
    if (auto done = plexus->stop(); !done) return done.error();
    if (!after) return after.error();
  }
  return out;
}

int run(int argc, char** argv) {
  const auto settings = parse_settings(argc, argv);
  if (!settings) {
    std::fprintf(stderr, "plexus-bench-setup: %s\n", settings.error().message.c_str());
    return 2;
  }
  const auto measured = measure(*settings);
  if (!measured) {
    std::fprintf(stderr, "plexus-bench-setup: %s\n", measured.error().message.c_str());
    return 1;
  }
  const char* between = "{";
  for (const auto& [name, value] : *measured) {
    std::printf("%s\"%s\": %" PRIu64, between, name.c_str(), value);
    between = ", ";
  }
  std::puts("}");
  return 0;
}

}  // namespace
}  // namespace plexus::bench

int main(int argc, char** argv) {
  return plexus::bench::run(argc, argv);
}
