// SPDX-License-Identifier: Apache-2.0
// plexus-bench-generator: sends N packets of a pattern into an interface, times it, and counts what arrives at another
// interface, so that a lost or damaged packet is seen. Prints one JSON object. benchmarks/datapath.py drives it.
//
// Frames are IPv4/UDP, plain or inside VXLAN over IPv4, with UDP checksum 0 where they enter the system under test.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "packet_generator.skel.h"

namespace plexus {
namespace {

constexpr const char* kUsage =
    R"(usage: plexus-bench-generator --frame HEX --netns NAME --interface NAME [OPTION VALUE]...

  --frame HEX             the frame of flow 0: Ethernet, IPv4, UDP, perhaps VXLAN with the same inside; at most 128 bytes
  --netns NAME            the namespace (below /run/netns) of --interface
  --interface NAME        where the packets enter
  --verdict WHAT          pass: as received on the interface (default); redirect: sent out of it; drop: nowhere
  --packets N             default 1000000
  --flows N               flows, told apart by their UDP ports; default 1
  --spare NAME            an interface without traffic, in the namespace that the generator was started in; its
                          program is attached there, which makes a test run start in microseconds instead of 24 ms
  --sink-netns NAME, --sink-interface NAME    where they should arrive; without these nothing is counted
  --expect-mac MAC        (inner) destination MAC on arrival; default: as sent
  --expect-ttl N          (inner) TTL on arrival; default: as sent
  --expect-ahead N        bytes in front of the inner frame on arrival; default 0
  --warm-up SECONDS       first send bursts until all of one arrive, for at most so long; default 0: do not
)";

constexpr size_t kMaxFrame = 128;
constexpr uint16_t kVxlanPort = 4789;
constexpr size_t kVxlanAhead = 50;    // outer Ethernet, IPv4, UDP and VXLAN headers
constexpr size_t kPlainHeaders = 42;  // Ethernet, IPv4, UDP
constexpr uint32_t kLeastBurst = 64;
constexpr uint32_t kFlowsPerPort = 16'384;  // FLOWS_PER_PORT of the programs
constexpr uint32_t kMostFlows = 16 * kFlowsPerPort;

struct Skeleton {
  void operator()(packet_generator* s) const { packet_generator__destroy(s); }
};
using Programs = std::unique_ptr<packet_generator, Skeleton>;

struct Settings {
  std::vector<uint8_t> frame;
  std::string netns, interface, spare, sink_netns, sink_interface;
  std::string verdict = "pass";
  uint32_t packets = 1'000'000;
  uint32_t flows = 1;
  std::optional<uint64_t> expect_mac;
  std::optional<uint32_t> expect_ttl;
  uint32_t expect_ahead = 0;
  uint32_t warm_up_seconds = 0;

  [[nodiscard]] bool has_sink() const { return !sink_interface.empty(); }
};

Error invalid(std::string text) {
  return Error{ErrorCode::invalid, std::move(text)};
}

Result<uint32_t> parse_number(const std::string& option, std::string_view text) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return invalid(option + ": not a number: " + std::string(text));
  }
  return value;
}

Result<std::vector<uint8_t>> parse_hex(std::string_view text) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 2 <= text.size(); i += 2) {
    uint8_t byte = 0;
    auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
    if (error != std::errc() || end != text.data() + i + 2)
      return invalid("--frame: not hexadecimal");
    bytes.push_back(byte);
  }
  if (text.size() % 2 != 0) return invalid("--frame: half a byte at the end");
  return bytes;
}

// Six bytes in memory order, as the sink compares them.
Result<uint64_t> parse_mac(const std::string& text) {
  unsigned b[6];
  char rest = 0;
  if (std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4],
                  &b[5], &rest) != 6) {
    return invalid("--expect-mac: not a MAC address: " + text);
  }
  uint64_t value = 0;
  for (int i = 0; i < 6; ++i) value |= static_cast<uint64_t>(b[i]) << (8 * i);
  return value;
}

Result<Settings> parse_settings(int argc, char** argv) {
  std::map<std::string, std::string> given;
  static const std::vector<std::string> kKnown = {
      "--frame",      "--netns",        "--interface",  "--verdict",    "--packets",
      "--flows",      "--spare",        "--sink-netns", "--expect-mac", "--sink-interface",
      "--expect-ttl", "--expect-ahead", "--warm-up"};
  for (int i = 1; i < argc; i += 2) {
    std::string name = argv[i];
    if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end() || i + 1 >= argc) {
      return invalid("unknown option, or no value for it: " + name + "\n" + kUsage);
    }
    given[name] = argv[i + 1];
  }
  Settings s;
  auto hex = parse_hex(given["--frame"]);
  if (!hex) return hex.error();
  s.frame = *hex;
  s.netns = given["--netns"];
  s.interface = given["--interface"];
  s.spare = given["--spare"];
  s.sink_netns = given["--sink-netns"];
  s.sink_interface = given["--sink-interface"];
  if (given.contains("--verdict")) s.verdict = given["--verdict"];
  for (auto [option, field] : std::initializer_list<std::pair<const char*, uint32_t*>>{
           {"--packets", &s.packets},
           {"--flows", &s.flows},
           {"--expect-ahead", &s.expect_ahead},
           {"--warm-up", &s.warm_up_seconds}}) {
    if (!given.contains(option)) continue;
    auto number = parse_number(option, given[option]);
    if (!number) return number.error();
    *field = *number;
  }
  if (given.contains("--expect-ttl")) {
    auto number = parse_number("--expect-ttl", given["--expect-ttl"]);
    if (!number) return number.error();
    s.expect_ttl = *number;
  }
  if (given.contains("--expect-mac")) {
    auto mac = parse_mac(given["--expect-mac"]);
    if (!mac) return mac.error();
    s.expect_mac = *mac;
  }
  if (s.netns.empty() || s.interface.empty() || s.sink_netns.empty() != s.sink_interface.empty()) {
    return invalid(std::string("an interface and its namespace go together\n") + kUsage);
  }
  if (s.verdict != "pass" && s.verdict != "redirect" && s.verdict != "drop") {
    return invalid("--verdict: pass, redirect or drop, not " + s.verdict);
  }
  if (s.packets == 0 || s.flows == 0 || s.flows > kMostFlows) {
    return invalid("--packets at least 1, --flows from 1 to 262144");
  }
  return s;
}

uint16_t be16_at(const std::vector<uint8_t>& bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

// Whether an IPv4 header without options and a UDP header stand behind the Ethernet header at `at`.
bool is_udp_at(const std::vector<uint8_t>& f, size_t at) {
  return f.size() >= at + kPlainHeaders && be16_at(f, at + 12) == 0x0800 && f[at + 14] == 0x45 &&
         f[at + 23] == 17;
}

// Opens the programs with the pattern and the expectations in their read-only data.
Result<Programs> load_programs(const Settings& s, unsigned ifindex) {
  const auto& f = s.frame;
  if (f.size() > kMaxFrame || f.size() % 2 != 0 || !is_udp_at(f, 0)) {
    return invalid("--frame: needs an even number of bytes up to 128, and IPv4 and UDP in it");
  }
  size_t inner = 0;
  if (be16_at(f, 36) == kVxlanPort) {
    inner = kVxlanAhead;
    if (!is_udp_at(f, inner)) return invalid("--frame: no IPv4 and UDP inside the VXLAN");
  }

  Programs programs(packet_generator__open());
  if (!programs) return errno_error("opening the generator's programs", errno);
  auto& ro = *programs->rodata;
  // The object's constants are const here too, but until load() they are plain memory.
  auto set = [](const volatile auto& field, auto value) {
    using Field = std::remove_cvref_t<decltype(field)>;
    const_cast<Field&>(field) = static_cast<Field>(value);
  };
  std::memcpy(const_cast<unsigned long long*>(&ro.template_words[0]), f.data(), f.size());
  set(ro.frame_length, f.size());
  set(ro.flows, s.flows);
  set(ro.source_port_at, inner + 34);
  set(ro.first_source_port, be16_at(f, inner + 34));
  set(ro.outer_port_at, inner != 0 ? 34U : 0U);
  set(ro.verdict, s.verdict == "drop" ? XDP_DROP : XDP_PASS);
  set(ro.redirect_ifindex, s.verdict == "redirect" ? ifindex : 0U);

  uint64_t mac = 0;
  std::memcpy(&mac, f.data() + inner, 6);
  set(ro.expected_length, f.size() - inner + s.expect_ahead);
  set(ro.expected_mac, s.expect_mac.value_or(mac));
  set(ro.mac_at, s.expect_ahead);
  set(ro.expected_ttl, s.expect_ttl.value_or(f[inner + 22]));
  set(ro.ttl_at, s.expect_ahead + 22);
  set(ro.expected_port, be16_at(f, inner + 36));
  set(ro.expected_ports, (s.flows + kFlowsPerPort - 1) / kFlowsPerPort);
  set(ro.port_at, s.expect_ahead + 36);
  if (int err = packet_generator__load(programs.get())) {
    return errno_error("loading the generator's programs", -err);
  }
  return programs;
}

Result<void> enter_netns(const std::string& name) {
  UniqueFd fd(::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error("opening namespace " + name, errno);
  if (::setns(fd.get(), CLONE_NEWNET) != 0) return errno_error("entering namespace " + name, errno);
  return Ok{};
}

Result<unsigned> index_of(const std::string& interface) {
  unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) return errno_error("interface " + interface, errno);
  return index;
}

struct Arrivals {
  uint64_t good = 0, wrong = 0;
  [[nodiscard]] uint64_t all() const { return good + wrong; }
};

// The sink program on an interface. Takes away only what it has put there.
class Sink {
 public:
  static Result<Sink> attach(const Settings& s, const packet_generator& programs) {
    Sink sink;
    sink.netns_ = s.sink_netns;
    sink.counters_ = bpf_map__fd(programs.maps.arrived);
    if (auto entered = enter_netns(s.sink_netns); !entered) return entered.error();
    auto index = index_of(s.sink_interface);
    if (!index) return index.error();
    sink.hook_.ifindex = static_cast<int>(*index);
    int err = bpf_tc_hook_create(&sink.hook_);
    if (err != 0 && err != -EEXIST) return errno_error("making the sink's qdisc", -err);
    sink.made_qdisc_ = err == 0;
    // Before all other filters: the system under test may have one on the same interface.
    DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = bpf_program__fd(programs.progs.sink),
                        .handle = 1, .priority = 1);
    err = bpf_tc_attach(&sink.hook_, &filter);
    if (err != 0) return errno_error("attaching the sink", -err);
    sink.handle_ = filter.handle;
    sink.priority_ = filter.priority;
    return sink;
  }
  Sink(Sink&& o) noexcept { *this = std::move(o); }
  Sink& operator=(Sink&& o) noexcept {
    std::swap(netns_, o.netns_);
    std::swap(counters_, o.counters_);
    std::swap(hook_, o.hook_);
    std::swap(handle_, o.handle_);
    std::swap(priority_, o.priority_);
    std::swap(made_qdisc_, o.made_qdisc_);
    return *this;
  }
  ~Sink() {
    if (hook_.ifindex == 0 || !enter_netns(netns_)) return;
    if (handle_ != 0) {
      DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .handle = handle_, .priority = priority_);
      bpf_tc_detach(&hook_, &filter);
    }
    if (made_qdisc_) {
      hook_.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
      bpf_tc_hook_destroy(&hook_);
    }
  }

  [[nodiscard]] Arrivals arrivals() const {
    std::vector<Arrivals> each(static_cast<size_t>(libbpf_num_possible_cpus()));
    uint32_t zero = 0;
    Arrivals sum;
    if (bpf_map_lookup_elem(counters_, &zero, each.data()) != 0) return sum;
    for (const Arrivals& a : each) {
      sum.good += a.good;
      sum.wrong += a.wrong;
    }
    return sum;
  }

 private:
  Sink() = default;
  std::string netns_;
  int counters_ = -1;
  bpf_tc_hook hook_ = {
      .sz = sizeof(bpf_tc_hook), .ifindex = 0, .attach_point = BPF_TC_INGRESS, .parent = 0};
  uint32_t handle_ = 0, priority_ = 0;
  bool made_qdisc_ = false;
};

uint64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

void sleep_ms(unsigned ms) {
  ::usleep(ms * 1000);
}

// Sends `packets`; returns the nanoseconds it took.
Result<uint64_t> send(const packet_generator& programs, const Settings& s, unsigned ifindex,
                      uint32_t packets) {
  xdp_md where{};
  where.data_end = static_cast<uint32_t>(s.frame.size());
  where.ingress_ifindex = ifindex;
  DECLARE_LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = s.frame.data(),
                      .data_size_in = static_cast<uint32_t>(s.frame.size()), .ctx_in = &where,
                      .ctx_size_in = sizeof where, .repeat = static_cast<int>(packets),
                      .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
  uint64_t start = now_ns();
  int err = bpf_prog_test_run_opts(bpf_program__fd(programs.progs.generate), &run);
  uint64_t end = now_ns();
  if (err != 0) return errno_error("running the generator", -err);
  return end - start;
}

// The arrivals once `wanted` more than `before` have arrived, or when none has for `patience_ms`.
Arrivals settle(const Sink& sink, const Arrivals& before, uint64_t wanted, unsigned patience_ms) {
  Arrivals now = sink.arrivals();
  for (unsigned idle = 0; now.all() - before.all() < wanted && idle < patience_ms; ++idle) {
    sleep_ms(1);
    Arrivals next = sink.arrivals();
    if (next.all() != now.all()) idle = 0;
    now = next;
  }
  return now;
}

// Sends bursts with every flow in them until two in a row have arrived whole: caches are full, flows installed.
Result<void> warm_up(const packet_generator& programs, const Settings& s, unsigned ifindex,
                     const Sink& sink) {
  uint32_t burst = std::max(s.flows, kLeastBurst);
  uint64_t deadline = now_ns() + uint64_t{s.warm_up_seconds} * 1'000'000'000;
  unsigned whole = 0;
  while (true) {
    Arrivals before = sink.arrivals();
    if (auto sent = send(programs, s, ifindex, burst); !sent) return sent.error();
    Arrivals after = settle(sink, before, burst, 50);
    whole = after.good - before.good == burst && after.wrong == before.wrong ? whole + 1 : 0;
    if (whole == 2) return Ok{};
    if (now_ns() > deadline) {
      return Error{ErrorCode::unavailable,
                   "warm-up: of the last " + std::to_string(burst) + " packets " +
                       std::to_string(after.good - before.good) + " arrived as they should and " +
                       std::to_string(after.wrong - before.wrong) + " otherwise"};
    }
    if (whole == 0) sleep_ms(50);
  }
}

// What else the machine did. /proc/stat counts in hundredths of a second, schedstat in nanoseconds.
struct Disturbance {
  uint64_t waited_ns = 0;  // our own time in the run queue: something else had our CPU
  uint64_t others_ns = 0;  // other CPUs being busy, and the hypervisor having any of them

  static Disturbance until_now() {
    constexpr uint64_t kTick = 10'000'000;
    Disturbance d;
    uint64_t on_cpu = 0;
    std::ifstream("/proc/self/schedstat") >> on_cpu >> d.waited_ns;
    std::string own = "cpu" + std::to_string(::sched_getcpu());
    std::ifstream stat("/proc/stat");
    for (std::string line; std::getline(stat, line) && line.starts_with("cpu");) {
      std::istringstream fields(line);
      std::string cpu;
      uint64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, steal = 0;
      fields >> cpu >> user >> nice >> system >> idle >> wait >> irq >> softirq >> steal;
      if (cpu == "cpu") continue;  // the sum of all
      d.others_ns += kTick * steal;
      if (cpu != own) d.others_ns += kTick * (user + nice + system + irq + softirq);
    }
    return d;
  }
};

struct Measurement {
  uint64_t nanoseconds = 0;
  Disturbance disturbance;
  std::optional<Arrivals> arrived;
};

Result<Measurement> measure(const Settings& s) {
  // In the namespace that we were started in.
  std::optional<unsigned> spare;
  if (!s.spare.empty()) {
    auto index = index_of(s.spare);
    if (!index) return index.error();
    spare = *index;
  }
  UniqueFd home(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (auto entered = enter_netns(s.netns); !entered) return entered.error();
  auto ifindex = index_of(s.interface);
  if (!ifindex) return ifindex.error();
  auto loaded = load_programs(s, *ifindex);
  if (!loaded) return loaded.error();
  const packet_generator& programs = **loaded;

  std::unique_ptr<bpf_link, int (*)(bpf_link*)> attached(nullptr, bpf_link__destroy);
  if (spare) {
    if (::setns(home.get(), CLONE_NEWNET) != 0)
      return errno_error("going back to the first namespace", errno);
    attached.reset(bpf_program__attach_xdp(programs.progs.generate, static_cast<int>(*spare)));
    if (!attached) return errno_error("attaching the generator to " + s.spare, errno);
  }
  std::optional<Sink> sink;
  if (s.has_sink()) {
    auto there = Sink::attach(s, programs);
    if (!there) return there.error();
    sink.emplace(std::move(there).value());
  }
  if (auto entered = enter_netns(s.netns); !entered) return entered.error();

  if (sink && s.warm_up_seconds > 0) {
    if (auto warm = warm_up(programs, s, *ifindex, *sink); !warm) return warm.error();
  }
  Measurement m;
  Arrivals before = sink ? sink->arrivals() : Arrivals{};
  Disturbance quiet = Disturbance::until_now();
  auto took = send(programs, s, *ifindex, s.packets);
  Disturbance loud = Disturbance::until_now();
  if (!took) return took.error();
  m.nanoseconds = *took;
  m.disturbance = {loud.waited_ns - quiet.waited_ns, loud.others_ns - quiet.others_ns};
  if (sink) {
    Arrivals after = settle(*sink, before, s.packets, 200);
    m.arrived = Arrivals{after.good - before.good, after.wrong - before.wrong};
  }
  return m;
}

int run(int argc, char** argv) {
  if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  auto settings = parse_settings(argc, argv);
  if (!settings) {
    std::fprintf(stderr, "plexus-bench-generator: %s\n", settings.error().message.c_str());
    return 2;
  }
  auto m = measure(*settings);
  if (!m) {
    std::fprintf(stderr, "plexus-bench-generator: %s\n", m.error().message.c_str());
    return 1;
  }
  std::printf(R"({"packets": %)" PRIu32 R"(, "nanoseconds": %)" PRIu64
              R"(, "waited_nanoseconds": %)" PRIu64 R"(, "others_nanoseconds": %)" PRIu64,
              settings->packets, m->nanoseconds, m->disturbance.waited_ns,
              m->disturbance.others_ns);
  if (m->arrived) {
    std::printf(R"(, "arrived": %)" PRIu64 R"(, "wrong": %)" PRIu64, m->arrived->good,
                m->arrived->wrong);
  }
  std::puts("}");
  return 0;
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  return plexus::run(argc, argv);
}
