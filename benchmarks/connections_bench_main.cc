// SPDX-License-Identifier: Apache-2.0
// plexus-bench-connections: what a worker's table of connections costs at a million, in time, allocations and heap.
// benchmarks/connections.py runs it. Each line of its output is one JSON object: a case, its unit, one value of one run.
//
// The connections: of 1,000 ports in 100 zones, 16 tenants, TCP, answered; IPv4, half of them behind one source translation.
#include <malloc.h>
#include <time.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "allocations.h"
#include "packet/build.h"
#include "state/connection_table.h"
#include "state/connection_wire.h"
#include "state/instantiate.h"
#include "state/tracking.h"

namespace plexus::state {
namespace {

constexpr size_t kConnections = 1'000'000, kPorts = 1000, kZones = 100, kTenants = 16;

MonoTime at(double seconds) {
  return MonoTime{static_cast<int64_t>(seconds * 1e9)};
}

/// Ids made once: they are random numbers in a cloud, and no part of what is measured.
struct Names {
  std::vector<Uuid> ports, zones, tenants;
  Uuid router = Uuid::derived("router", "edge"), block = Uuid::derived("block", "1"),
       outside = Uuid::derived("bridge", "outside"), uplink = Uuid::derived("port", "uplink"),
       host = Uuid::derived("host", "h1");

  Names() {
    for (size_t i = 0; i < kPorts; ++i) ports.push_back(Uuid::derived("port", std::to_string(i)));
    for (size_t i = 0; i < kZones; ++i) zones.push_back(Uuid::derived("zone", std::to_string(i)));
    for (size_t i = 0; i < kTenants; ++i)
      tenants.push_back(Uuid::derived("tenant", std::to_string(i)));
  }
};

Connection connection_number(const Names& names, size_t i, bool answered) {
  const auto n = static_cast<uint32_t>(i);
  Connection c;
  c.original = {IpAddr::v4(0x0a000000 + n / 16),
                IpAddr::v4(0xc6336400 + n % 200),
                static_cast<uint16_t>(1024 + n % 60000),
                443,
                ip_proto::kTcp,
                EchoRole::none};
  c.zone.device = names.zones[i % kZones];
  c.port.uuid = names.ports[i % kPorts];
  c.reply_zone.device = names.outside;
  c.reply_port.uuid = names.uplink;
  c.tenant = names.tenants[i % kTenants];
  c.stamp = {1, HostId{names.host}};
  c.seen = {seen::kPacket | seen::kSyn, 0};
  if (answered) c.seen = {seen::kPacket | seen::kSyn | seen::kAck, seen::kPacket | seen::kSynAck};
  c.last_seen = at(1);
  if (i % 2 == 1) {
    Tuple t = c.original;
    t.src = IpAddr::v4(0xcb007100 + n / 60000);
    t.src_port = static_cast<uint16_t>(1024 + n % 60000);
    c.translations.push_back({names.router, names.block, TranslationKind::source, t});
  }
  return c;
}

size_t heap_in_use() {
  const auto m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

void report(std::string_view name, std::string_view unit, double value,
            double per_allocation = -1) {
  std::printf(R"({"case": "%.*s", "unit": "%.*s", "value": %.4f)", static_cast<int>(name.size()),
              name.data(), static_cast<int>(unit.size()), unit.data(), value);
  if (per_allocation >= 0) std::printf(R"(, "allocations": %.4f)", per_allocation);
  std::printf("}\n");
}

/// CPU time of this thread: what else the machine does is not ours.
class Stopwatch {
 public:
  [[nodiscard]] double ns() const { return cpu_ns() - began_; }
  [[nodiscard]] uint64_t allocated() const { return bench::allocations - allocated_; }
  void report_each(std::string_view name, size_t count) const {
    const double n = static_cast<double>(count);
    report(name, "ns", ns() / n, static_cast<double>(allocated()) / n);
  }

 private:
  static double cpu_ns() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
  }
  uint64_t allocated_ = bench::allocations;
  double began_ = cpu_ns();
};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "plexus-bench-connections: %s\n", what);
  std::exit(1);
}

void run_table(const Names& names, const std::vector<Connection>& all) {
  const size_t n = all.size(), before = heap_in_use();
  auto table = std::make_unique<ConnectionTable>(
      ConnectionLimits{.total = n, .embryonic = n / 4, .port = n}, Timeouts{}, 7);
  {
    const Stopwatch w;
    for (const Connection& c : all) (void)table->commit(c, at(1));
    w.report_each("commit_new", n);
    if (table->size() != n) fail("a connection was refused");
  }
  report("bytes_a_connection", "bytes",
         static_cast<double>(heap_in_use() - before) / static_cast<double>(n));
  {
    const Stopwatch w;
    size_t hits = 0;
    for (size_t i = 0; i < n; ++i) {
      const Connection& c = all[i * 7919 % n];
      const Direction d = i % 2 == 0 ? Direction::original : Direction::reply;
      const auto found = table->find(c.zone_of(d), c.entering(d), at(2));
      hits += found && found->direction == d ? 1u : 0u;
    }
    w.report_each("find", n);
    if (hits != n) fail("a connection is not found");
  }
  {
    const Stopwatch w;
    for (size_t i = 0; i < n; ++i)
      table->saw(static_cast<ConnectionNumber>(i * 7919 % n), Direction::reply, Segment::ack,
                 at(3));
    w.report_each("saw", n);
  }
  {
    const Stopwatch w;
    if (table->expire(at(5000), 1000 * n) != 0) fail("a live connection expired");
    report("expire_when_nothing_has", "ms", w.ns() / 1e6);
  }
  {
    const Stopwatch w;
    if (table->expire(at(3 + 7441), 2 * n) != n) fail("an idle connection stays");
    w.report_each("expire", n);
  }
  {  // A flood of connections that nobody answers: each pushes out an older one.
    std::vector<Connection> flood;
    for (size_t i = 0; i < n / 4; ++i) {
      flood.push_back(connection_number(names, i, false));
      flood.back().last_seen = at(8000);
    }
    for (const Connection& c : flood) (void)table->commit(c, at(8000));
    for (Connection& c : flood) c.original.dst_port = 444;
    for (Connection& c : flood)
      if (!c.translations.empty()) c.translations[0].after.dst_port = 444;
    const Stopwatch w;
    for (const Connection& c : flood) (void)table->commit(c, at(8000));
    w.report_each("commit_new_at_the_limit", flood.size());
    if (table->embryonic() != n / 4) fail("the share of the unanswered does not hold");
  }
}

void run_wire(const std::vector<Connection>& all) {
  constexpr size_t kRecords = 100'000;
  size_t bytes = 0;
  const Stopwatch w;
  for (size_t i = 0; i < kRecords; ++i) {
    const auto record = encode(all[i], at(2));
    bytes += record.size();
    if (!decode(record, at(2))) fail("a record is not read");
  }
  w.report_each("encode_and_decode", kRecords);
  report("bytes_a_record", "bytes", static_cast<double>(bytes) / static_cast<double>(kRecords));
}

/// A new connection of a class with a load balancer and a lease, from the frame to the table.
void run_instantiate(const Names& names) {
  constexpr size_t kNew = 200'000;
  std::vector<Member> members;
  std::vector<model::MaglevMember> keys;
  for (unsigned i = 0; i < 100; ++i) {
    members.push_back(
        {Uuid::derived("member", std::to_string(i)), IpAddr::v4(0x0a640000 + i), 8080});
    keys.push_back({members.back().id, 1});
  }
  const auto set = std::make_shared<const MemberSet>(MemberSet{members, model::MaglevTable(keys)});
  Commit commit{.zone = {names.zones[0]},
                .port = {names.ports[0]},
                .tenant = {},
                .delivery = {{names.uplink}, {names.outside}},
                .stages = {}};
  commit.stages.push_back(SelectMember{names.router, Uuid::derived("vip", "v"), false, set});
  commit.stages.push_back(
      LeasePort{names.router, {{names.block, IpAddr::v4(0xcb007101), 32768, 32768}}});
  ConnectionTable table({.total = kNew, .embryonic = kNew, .port = kNew, .port_embryonic = kNew},
                        {}, 7);
  const IsFree is_free = [&](const Zone& z, const Tuple& t) { return table.is_free(z, t, at(1)); };
  std::vector<Frame> frames;
  for (uint32_t i = 0; i < kNew; ++i) {
    frames.push_back(tcp_packet({.src = IpAddr::v4(0x0a000000 + i), .dst = IpAddr::v4(0xc6336401)},
                                static_cast<uint16_t>(1024 + i % 5000), 443, tcp_flag::kSyn));
  }
  const Stopwatch w;
  size_t made = 0;
  for (const Frame& frame : frames) {
    const Sighting s = sighting_of(parse_packet(frame), frame);
    const Standing standing = standing_of(table, commit.zone, s, Midstream::refuse, at(1));
    if (standing.number) fail("a new connection is known");
    const Instance one = instantiate(commit, s, {1, HostId{names.host}}, at(1), is_free);
    if (one.reason != NoInstance::none) fail("no instance");
    made += table.commit(one.connection, at(1)).created ? 1u : 0u;
  }
  w.report_each("new_connection_of_a_class", kNew);
  if (made != kNew) fail("a connection was not made");
}

size_t number_of(const char* text) {
  size_t value = 0;
  const char* end = text + std::strlen(text);
  if (std::from_chars(text, end, value).ptr != end || value == 0)
    fail("usage: plexus-bench-connections [RUNS]");
  return value;
}

void run(size_t runs) {
  const Names names;
  std::vector<Connection> all;
  all.reserve(kConnections);
  for (size_t i = 0; i < kConnections; ++i) all.push_back(connection_number(names, i, true));
  for (size_t i = 0; i < runs; ++i) {
    run_table(names, all);
    run_wire(all);
    run_instantiate(names);
  }
}

}  // namespace
}  // namespace plexus::state

int main(int argc, char** argv) {
  plexus::state::run(argc > 1 ? plexus::state::number_of(argv[1]) : 1);
}
