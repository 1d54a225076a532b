# SPDX-License-Identifier: Apache-2.0
"""What a packet costs, and how fast bulk TCP is, through Plexus and through what Linux itself has for the same work.

Both are set up beside each other in namespaces; their runs alternate. docs/benchmarks.md has the rules of fairness.
"""
import argparse
import dataclasses
import os
import platform
import signal
import statistics
import sys
from collections.abc import Callable

import frames
import linux_peers
import tcp
from lab import GENERATOR_CPU, SYSTEM_CPU, BenchError, Lab
from path import Generator, Path
from plexus_cloud import PlexusCloud
from quiet import Patience, load
from rows import Report, make_row

SUITE = "datapath"
PACKETS, QUICK_PACKETS = 500_000, 200_000
RUNS, QUICK_RUNS = 7, 3
TCP_TURNS, QUICK_TCP_TURNS = 40, 15
# Time spent on waiting for quiet and on repeating disturbed runs, in all.
PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS = 300, 20


@dataclasses.dataclass(frozen=True)
class PacketCase:
    """The same work done by both. Without Plexus there is only the peer; without a peer only `path`, the floor."""
    name: str
    flows: int
    path: Path | None
    peer: str | None = None
    peer_path: Path | None = None


@dataclasses.dataclass(frozen=True)
class TcpCase:
    """Each end: namespace of the client, of the server, address of the server. CPUs: the client's, the server's."""
    name: str
    ends: tuple[str, str, str] | None
    peer: str
    peer_ends: tuple[str, str, str]
    cpus: tuple[int, int]


class Bench:
    def __init__(self, options, the_lab, report):
        self.options = options
        self.lab = the_lab
        self.report = report
        self.patience = Patience(options.patience)
        self.generator = Generator(the_lab)
        self.bridge = linux_peers.Bridge(the_lab)
        self.forwarding = linux_peers.Forwarding(the_lab)
        self.bridge_vxlan = linux_peers.BridgeVxlan(the_lab)
        self.forwarding_vxlan = linux_peers.ForwardingVxlan(the_lab)
        self.plexus = None if options.peers_only else PlexusCloud(the_lab)

    def packet_cases(self):
        bridge, forwarding, plexus = self.bridge, self.forwarding, self.plexus
        vxlan, routed_vxlan = self.bridge_vxlan, self.forwarding_vxlan

        def ours(path_of: Callable[[PlexusCloud], Path]):
            return path_of(plexus) if plexus else None

        def captured(sender):
            return frames.capture_vxlan(sender.sink_netns, "uplink", lambda: self.generator.one_burst(sender))

        at_once = bridge.l2()
        floor = dataclasses.replace(at_once, sink_netns=at_once.netns, sink_interface=at_once.interface)
        yield PacketCase("floor_receive_and_count", 1, floor)
        for flows, suffix in ((1, "1_flow"), (1000, "1000_flows"), (100_000, "100000_flows")):
            yield PacketCase(f"l2_{suffix}", flows, ours(PlexusCloud.l2), bridge.name, bridge.l2())
        for flows, suffix in ((1, "1_flow"), (1000, "1000_flows"), (100_000, "100000_flows")):
            yield PacketCase(f"l3_{suffix}", flows, ours(PlexusCloud.l3), forwarding.name, forwarding.l3())
        for flows, suffix in ((1, "1_flow"), (1000, "1000_flows")):
            yield PacketCase(f"l2_vxlan_encap_{suffix}", flows, ours(PlexusCloud.l2_encapsulation), vxlan.name,
                             vxlan.encapsulation())
        for flows, suffix in ((1, "1_flow"), (1000, "1000_flows")):
            for peer in (vxlan, routed_vxlan):
                yield PacketCase(f"l3_vxlan_encap_{suffix}", flows, ours(PlexusCloud.l3_encapsulation), peer.name,
                                 peer.encapsulation())
        from_peer = vxlan.decapsulation(captured(vxlan.encapsulation()))
        from_plexus = ours(lambda p: p.decapsulation(captured(p.l2_encapsulation())))
        for flows, suffix in ((1, "1_flow"), (1000, "1000_flows")):
            yield PacketCase(f"vxlan_decap_{suffix}", flows, from_plexus, vxlan.name, from_peer)

    def tcp_cases(self):
        vxlan = self.bridge_vxlan
        peer = (vxlan.client, vxlan.server, vxlan.server_address)
        for way, ends in (("l2", self.plexus and self.plexus.tcp_l2()), ("l3", self.plexus and self.plexus.tcp_l3())):
            for place, cpus in (("one_cpu", (GENERATOR_CPU, GENERATOR_CPU)), ("two_cpus", (GENERATOR_CPU, SYSTEM_CPU))):
                yield TcpCase(f"tcp_{way}_vxlan_{place}", ends, vxlan.name, peer, cpus)

    def run_packets(self, case):
        """Rounds of generator alone, Plexus, peer. From all runs the generator's median is taken off."""
        flows, count = case.flows, self.options.packets
        some_path = case.path or case.peer_path
        contenders = {
            "generator": lambda: self.generator.alone(some_path, flows, count),
            PlexusCloud.name: case.path and (lambda: self.generator.through(case.path, flows, count)),
            case.peer: case.peer_path and (lambda: self.generator.through(case.peer_path, flows, count)),
        }
        times, disturbed, load_then, error = self._rounds(
            contenders, lambda measure: self.patience.undisturbed(measure).nanoseconds)
        own = statistics.median(times["generator"]) if times["generator"] else 0.0
        ours, peers = ([t - own for t in times[who]] for who in (PlexusCloud.name, case.peer))
        self.report.add(make_row(SUITE, case.name, "ns/packet", ours, case.peer, peers, error, flows=flows,
                                 packets=count, generator_median=round(own, 3), load=load_then, disturbed=disturbed),
                        system=None if case.peer else "no system")

    def run_tcp(self, case):
        """Runs with new streams, in which the contenders take turns: nothing is repeated, a disturbance meets all."""
        ends = {case.peer: case.peer_ends}
        if case.ends:
            ends = {PlexusCloud.name: case.ends} | ends
        speeds, load_then, error = {PlexusCloud.name: [], case.peer: []}, load(), None
        try:
            for _ in range(self.options.runs):
                for name, speed in tcp.gbits(self.lab, ends, case.cpus, self.options.tcp_turns).items():
                    speeds[name].append(speed)
        except BenchError as problem:
            error = str(problem)
            speeds = {name: [] for name in speeds}
        self.report.add(make_row(SUITE, case.name, "Gbit/s", speeds[PlexusCloud.name], case.peer, speeds[case.peer],
                                 error, load=load_then))

    def _rounds(self, contenders, measured):
        """As many rounds as asked for, each contender once in each; those that are None are left out. A contender that
        fails spoils the case: (results by name, disturbed runs, load at the start, error)."""
        results = {name: [] for name in contenders}
        disturbed_before, load_then = self.patience.disturbed, load()
        name = None
        try:
            for _ in range(self.options.runs):
                for name, measure in contenders.items():
                    if measure:
                        results[name].append(measured(measure))
            error = None
        except BenchError as problem:
            error = f"{name}: {problem}"
            results = {name: [] for name in contenders}
        return results, self.patience.disturbed - disturbed_before, load_then, error

    def run(self):
        wanted = self.options.only
        for case in self.packet_cases():
            if wanted in case.name:
                self.run_packets(case)
        for case in self.tcp_cases():
            if wanted in case.name:
                self.run_tcp(case)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./bench datapath", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a line")
    parser.add_argument("--runs", type=int, metavar="N", help=f"runs of each system and case (default {RUNS})")
    parser.add_argument("--packets", type=int, metavar="N", help=f"packets in a run (default {PACKETS})")
    parser.add_argument("--quick", action="store_true", help="fewer, shorter runs: to see that it works, not to quote")
    parser.add_argument("--peers-only", action="store_true", help="without Plexus")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--patience", type=float, metavar="SECONDS",
                        help="time for repeating runs that something else disturbed "
                             f"(default {PATIENCE_SECONDS}, in all)")
    options = parser.parse_args(arguments)
    if options.runs is None:
        options.runs = QUICK_RUNS if options.quick else RUNS
    if options.packets is None:
        options.packets = QUICK_PACKETS if options.quick else PACKETS
    options.tcp_turns = QUICK_TCP_TURNS if options.quick else TCP_TURNS
    if options.patience is None:
        options.patience = QUICK_PATIENCE_SECONDS if options.quick else PATIENCE_SECONDS
    if options.runs < 1 or options.packets < 1000:
        parser.error("at least 1 run and 1000 packets")
    return options


def give_up(number, _frame):
    raise SystemExit(128 + number)


def main():
    options = parse(sys.argv[1:])
    if os.geteuid() != 0:
        raise BenchError("needs root (network namespaces, eBPF): run it with sudo")
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError("needs two CPUs: one for the system, one for the generator")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, give_up)
    print(f"kernel {platform.release()}, {os.cpu_count()} CPUs, load {load():.2f}; {options.runs} runs of "
          f"{options.packets} packets; median (min to max), generator taken off")
    if load() > 0.3:
        print("bench: warning: this machine is doing something else; disturbed runs are repeated while patience lasts",
              file=sys.stderr)
    report = Report(options.json, PlexusCloud.name)
    with Lab() as the_lab:
        Bench(options, the_lab, report).run()
    if report.failures:
        raise BenchError(f"{report.failures} cases failed")


if __name__ == "__main__":
    try:
        main()
    except BenchError as problem_to_tell:
        print(f"bench: {problem_to_tell}", file=sys.stderr)
        sys.exit(1)
