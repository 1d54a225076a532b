// SPDX-License-Identifier: Apache-2.0
// Any text as a scenario: what was read is written and read again to the same; its statements are refused with a reason or
// run, on virtual hosts in memory with the agent's own topology and worker, and nothing in them gives way.
#include <sstream>

#include "fuzz.h"
#include "scenarios/script.h"

namespace plexus::scenario {
namespace {

constexpr size_t kMostStatements = 12;

bool is_slow(const Statement& statement) {
  return statement.text.starts_with("after ") && statement.text.size() > 9;
}

uint64_t run(std::span<const uint8_t> bytes) {
  std::istringstream in(std::string(bytes.begin(), bytes.end()));
  Script script = read_script(in);
  std::ostringstream out;
  write_script(script, out);
  std::istringstream again(out.str());
  FUZZ_CHECK(read_script(again) == script, out.str());

  const auto lab = make_fake_lab();
  Run run(*lab);
  uint64_t reached = 0;
  for (size_t i = 0; i < std::min(script.statements.size(), kMostStatements); ++i) {
    Statement& statement = script.statements[i];
    if (is_slow(statement)) continue;
    const auto done = run.step(statement, true);
    if (!done) {
      FUZZ_CHECK(!done.error().message.empty(), statement.text);
      const size_t quote = done.error().message.find(": ");
      reached = reached * 31 + std::hash<std::string>{}(done.error().message.substr(
                                   quote == std::string::npos ? 0 : quote, 16));
      continue;
    }
    // What came out tells behaviours apart: where it went, and why not.
    for (const std::string& line : statement.block)
      reached = reached * 37 + std::hash<std::string>{}(line.substr(0, line.find(" eth ")));
  }
  return reached;
}

}  // namespace
}  // namespace plexus::scenario

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = scenario::run};
  const std::string cloud =
      "topology\n"
      "  hosts: [{name: h1}, {name: h2}]\n"
      "  bridges: [{name: b}]\n"
      "  routers: [{name: r}]\n"
      "  ports:\n"
      "    - {name: rb, router: r, mac: \"02:00:00:00:00:99\", networks: [10.0.0.1/24, "
      "fd00::1/64], "
      "peer: br}\n"
      "    - {name: br, bridge: b}\n"
      "    - {name: v1, bridge: b, host: h1, interface: t1, mac: \"02:00:00:00:00:11\", addresses: "
      "[10.0.0.11]}\n"
      "    - {name: v2, bridge: b, host: h2, interface: t2}\n";
  for (const std::string_view statements :
       {"send h1/t1 eth 02:00:00:00:00:11 > ff:ff:ff:ff:ff:ff | arp request who 10.0.0.1 tell "
        "10.0.0.11\nresults\n  nothing\nflows h1\n",
        "send h2/t2 eth 02:00:00:00:00:12 > 02:00:00:00:00:99 | ipv4 10.0.0.12 > 10.0.0.11 | udp 1 "
        "> 2\nafter 3s\napply\n  ports: [{name: v1, admin_up: false}]\n",
        "trace h1/t1 eth 02:00:00:00:00:11 > 02:00:00:00:00:12 | ipv6 fd00::b > fd00::c | udp 1 > "
        "2\ntunnel h2 192.0.2.1 1 ipv4 10.0.0.11 > 10.0.0.12 | udp 1 > 2\n",
        "delete port br\nunplug h2/t2\nplug h2/t2\nnewer bridge b\nsend h1/t1 raw 00\n"})
    subject.seeds.push_back(fuzz::bytes_of(cloud + std::string(statements)));
  subject.seeds.push_back(
      fuzz::bytes_of("# Pins: x\n# Matters: y\n\ntopology\n  hosts: []\nresults\n"));
  subject.words = {"\n",
                   "\n  ",
                   "send ",
                   "h1/t1 ",
                   "h2/t2 ",
                   "trace ",
                   "flows ",
                   "tunnel ",
                   "after ",
                   "1s",
                   "apply\n  ",
                   "delete ",
                   "newer ",
                   "port ",
                   "bridge ",
                   "router ",
                   "unplug ",
                   "plug ",
                   "results",
                   "nothing",
                   "admin_up: false",
                   "routes: [{name: x, router: r, destination: 10.9.0.0/16, port: rb, next_hop: "
                   "10.0.0.7}]",
                   "kind: blackhole",
                   "peer: ",
                   "addresses: []",
                   "networks: []"};
  return fuzz::fuzz_main(argc, argv, subject);
}
