// SPDX-License-Identifier: Apache-2.0
// plexus-bench-flows: what the table of installed flows costs at a million flows, in time, allocations and heap.
// benchmarks/flows.py runs it. Each line of its output is one JSON object: a case, its unit, one value of one run.
//
// The flows: all of other machines and addresses, over 1,000 ports and 16 masks; 1,000 different lists of actions,
// 10,000 different sets of 8 dependencies. "All distinct": every flow has a list and a set of its own.
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "allocations.h"
#include "flow/flow_table.h"

namespace plexus {
namespace {

constexpr size_t kPorts = 1000, kMasks = 16, kActionLists = 1000, kDependencySets = 10'000;
constexpr size_t kHit = 10'000;  // flows that a change hits

const Uuid kRouter = Uuid::derived("router", "core"), kBridge = Uuid::derived("bridge", "blue");

// What every flow depends on, and what one in a hundred does.
const Tag kCommonTag{TagKind::routes, kRouter, 1}, kRareTag{TagKind::host, kBridge, 0};

struct Sample {
  Match match;
  Actions actions;
  std::vector<Dependency> dependencies;
};

FlowKey mask_of(size_t number) {
  FlowKey mask;
  mask.in_port = 0xffffffff;
  mask.eth_dst.fill(0xff);
  mask.eth_type = Be16(0xffff);
  // Source prefixes of 17 to 32 bits; the whole destination.
  for (size_t bit = 0; bit < 17 + number; ++bit)
    mask.nw[bit / 8] = static_cast<uint8_t>(mask.nw[bit / 8] | 0x80u >> bit % 8);
  for (size_t byte = 4; byte < 8; ++byte) mask.nw[byte] = 0xff;
  return mask;
}

Match match_number(size_t i) {
  FlowKey key;
  key.in_port = kFirstLocalPort + static_cast<uint32_t>(i % kPorts);
  key.eth_type = Be16(eth_type::kIpv4);
  const auto number = static_cast<uint32_t>(i);
  key.eth_dst = {2, 0};
  std::memcpy(key.eth_dst.data() + 2, &number, 4);
  // 10,000 flows to each /16 of destinations.
  key.set_src_ip(IpAddr::v4(0x0a000000 + number));
  key.set_dst_ip(IpAddr::v4(static_cast<uint32_t>(0x20000000 + (i / kHit << 16) + i % kHit)));
  return match_of(key, mask_of(i % kMasks));
}

Actions actions_number(size_t i) {
  Copy copy;
  copy.rewrite.eth_src = MacAddr{{2, 0, 0, 0, 1, 1}};
  copy.rewrite.eth_dst =
      MacAddr{{2, 1, static_cast<uint8_t>(i >> 24), static_cast<uint8_t>(i >> 16),
               static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}};
  copy.rewrite.ttl_decrement = 1;
  copy.output = TunnelOutput{IpAddr::v4(0xc0000200), static_cast<uint32_t>(i)};
  return {.copies = {copy}, .mtu = 1500};
}

std::vector<Dependency> dependencies_number(size_t i) {
  std::vector<Dependency> d = {
      {{TagKind::bridge, kBridge, 0}, false},
      {{TagKind::bridge_mac, kBridge, i}, false},
      {{TagKind::router, kRouter, 0}, false},
      {kCommonTag, false},
      {{TagKind::port, kRouter, i % 500}, false},
      {{TagKind::port, kBridge, i % 997}, false},
      {{TagKind::neighbour, kRouter, i}, true},
      {i % 100 == 0 ? kRareTag : Tag{TagKind::host, kBridge, 1 + i % 64}, false},
  };
  std::sort(d.begin(), d.end());
  return d;
}

struct Prepared {
  std::vector<Match> matches;
  std::vector<Actions> actions;
  std::vector<std::vector<Dependency>> dependencies;

  Prepared(size_t flows, bool distinct) {
    const size_t lists = distinct ? flows : std::min(flows, kActionLists);
    const size_t sets = distinct ? flows : std::min(flows, kDependencySets);
    for (size_t i = 0; i < flows; ++i) matches.push_back(match_number(i));
    for (size_t i = 0; i < lists; ++i) actions.push_back(actions_number(i));
    for (size_t i = 0; i < sets; ++i) dependencies.push_back(dependencies_number(i));
  }
  void insert(FlowTable& table, size_t i, MonoTime now) const {
    table.insert(matches[i], actions[i % actions.size()], dependencies[i % dependencies.size()], i,
                 now);
  }
};

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
  std::fprintf(stderr, "plexus-bench-flows: %s\n", what);
  std::exit(1);
}

MonoTime at(double seconds) {
  return MonoTime{static_cast<int64_t>(seconds * 1e9)};
}

TagChange change_of_region(size_t number) {
  Match region;
  region.mask.eth_type = Be16(0xffff);
  region.key.eth_type = Be16(eth_type::kIpv4);
  region.mask.nw[4] = region.mask.nw[5] = 0xff;
  region.key.set_dst_ip(IpAddr::v4(static_cast<uint32_t>(0x20000000 + (number << 16))));
  return {kCommonTag, region};
}

size_t remove_meeting(FlowTable& table, const TagChange& change) {
  return table.invalidate({&change, 1}).size();
}

/// All cases once, on a table of `flows`.
void run(size_t flows, const Prepared& flow) {
  const double n = static_cast<double>(flows);
  const size_t before = heap_in_use();
  auto table = std::make_unique<FlowTable>(flows);
  {
    const Stopwatch w;
    for (size_t i = 0; i < flows; ++i) flow.insert(*table, i, at(1 + static_cast<double>(i) / n));
    report("insert_new", "ns", w.ns() / n, static_cast<double>(w.allocated()) / n);
  }
  report("bytes_a_flow", "bytes", static_cast<double>(heap_in_use() - before) / n);
  {
    const Stopwatch w;
    size_t hits = 0;
    for (size_t i = 0; i < flows; ++i) {
      hits += table->find(flow.matches[i * 7919 % flows]) ? 1u : 0u;
    }
    report("find", "ns", w.ns() / n);
    if (hits != flows) fail("a flow is not found");
  }
  {
    const Stopwatch w;
    size_t hits = 0;
    for (size_t i = 0; i < flows; ++i)
      hits += table->lookup(flow.matches[i * 7919 % flows].key) ? 1u : 0u;
    report("lookup_hit", "ns", w.ns() / n);
    if (hits != flows) fail("a packet finds no flow");
  }
  {
    const Stopwatch w;
    for (size_t i = 0; i < flows; ++i) {
      const size_t which = i * 7919 % flows;
      (void)table->update_stats(flow.matches[which], 10, 1000,
                                at(10 + static_cast<double>(which * 31 % flows) / n * 5));
    }
    report("update_stats", "ns", w.ns() / n, static_cast<double>(w.allocated()) / n);
  }
  {
    const Stopwatch w;
    const size_t hit = remove_meeting(*table, {kRareTag, {}});
    report("invalidate_10000_that_carry_the_tag", "ms", w.ns() / 1e6);
    if (hit != flows / 100) fail("the change hits another number of flows");
  }
  {
    const Stopwatch w;
    const size_t hit = remove_meeting(*table, change_of_region(1));
    report("invalidate_10000_of_all_that_carry_the_tag", "ms", w.ns() / 1e6);
    if (hit != kHit - kHit / 100) fail("the region hits another number of flows");
  }
  for (size_t i = 0; i < flows; ++i)
    if (!table->find(flow.matches[i])) flow.insert(*table, i, at(20));
  // The table is full: each new flow evicts one. The newcomers are known kinds of flows at other ports.
  {
    Match m = flow.matches[0];
    const size_t newcomers = flows / 4;
    const Stopwatch w;
    for (size_t i = 0; i < newcomers; ++i) {
      m.key.in_port = 5000 + static_cast<uint32_t>(i);
      table->insert(m, flow.actions[i % flow.actions.size()],
                    flow.dependencies[i % flow.dependencies.size()], i, at(21));
    }
    report("insert_at_the_limit", "ns", w.ns() / static_cast<double>(newcomers),
           static_cast<double>(w.allocated()) / static_cast<double>(newcomers));
    if (table->size() != flows) fail("the limit does not hold");
  }
  {
    const Stopwatch w;
    const size_t gone = table->expire(at(1000), std::chrono::seconds(60)).size();
    report("expire", "ns", w.ns() / static_cast<double>(gone));
    if (gone != flows) fail("idle flows stay");
  }
}

void run_all_distinct(size_t flows) {
  const Prepared flow(flows, true);
  const size_t before = heap_in_use();
  FlowTable table(flows);
  const Stopwatch w;
  for (size_t i = 0; i < flows; ++i) flow.insert(table, i, at(1));
  const double n = static_cast<double>(flows);
  report("insert_new_all_distinct", "ns", w.ns() / n, static_cast<double>(w.allocated()) / n);
  report("bytes_a_flow_all_distinct", "bytes", static_cast<double>(heap_in_use() - before) / n);
}

size_t number_of(const char* text) {
  size_t value = 0;
  const char* end = text + std::strlen(text);
  if (std::from_chars(text, end, value).ptr != end || value == 0)
    fail("usage: plexus-bench-flows [RUNS]");
  return value;
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  constexpr size_t kFlows = 1'000'000;
  const size_t runs = argc > 1 ? plexus::number_of(argv[1]) : 1;
  for (size_t i = 0; i < runs; ++i) {
    plexus::run(kFlows, plexus::Prepared(kFlows, false));
    plexus::run_all_distinct(kFlows);
  }
}
