# SPDX-License-Identifier: Apache-2.0
"""What ./bench setup and ./bench fairness have in common: the machines' interfaces, and running plexus-bench-setup on them."""
import argparse
import json
import os
import platform
import signal
import sys

from lab import RUN_DIR, BenchError, Lab, run
from ovs_userspace import OvsUserspace
from path import require
from quiet import load
from rows import Report

MACHINES, DESTINATIONS = 32, 4096
SINK_MAC = "02:00:00:00:02:02"
RUNS, QUICK_RUNS = 7, 2
# Real time, like that of the packets' own path in ./bench datapath: on both CPUs, so for parts of a second only.
REAL_TIME = ("chrt", "-f", "10")
# What fills both CPUs for longer: at real time it would keep the kernel's own threads (RCU) from their work.
FIRST = ("nice", "-n", "-20")


class SetupLab:
    """A host with MACHINES machines that send and one that receives, for one system."""

    def __init__(self, the_lab, name):
        self.netns, self._machines = the_lab.namespace(f"{name}-host"), the_lab.namespace(f"{name}-vms")
        self._sink = the_lab.machine(f"{name}-sink", self.netns, "tap-sink", SINK_MAC, "10.2.0.2")
        run("ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1", netns=self.netns)
        run("ip", "link", "set", "spare0", "up", netns=self.netns)
        for m in range(MACHINES):
            run("ip", "link", "add", f"tap{m}", "type", "veth", "peer", "name", f"eth{m}", "netns", self._machines,
                netns=self.netns)
            run("ip", "link", "set", f"tap{m}", "up", netns=self.netns)
            run("ip", "link", "set", f"eth{m}", "up", netns=self._machines)

    def measure(self, case, system, priority=REAL_TIME, **options):
        """One run; what plexus-bench-setup says."""
        command = [*priority, require("plexus-bench-setup"), case, "--system", system, "--sink-netns",
                   self._sink, "--run-dir", f"{RUN_DIR}/setup-datapath", "--machines", MACHINES]
        for name, value in options.items():
            command += [f"--{name}", value]
        return json.loads(run(*(str(part) for part in command), netns=self.netns, timeout=120))


def parse(suite, description):
    parser = argparse.ArgumentParser(prog=f"./bench {suite}", description=description.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a line")
    parser.add_argument("--runs", type=int, metavar="N", help=f"runs of each system and case (default {RUNS})")
    parser.add_argument("--quick", action="store_true", help="fewer runs: to see that it works, not to quote")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--no-peer", action="store_true", help="without Open vSwitch")
    options = parser.parse_args()
    options.runs = max(1, (QUICK_RUNS if options.quick else RUNS) if options.runs is None else options.runs)
    return options


def give_up(number, _frame):
    raise SystemExit(128 + number)


def main(suite, description, cases):
    """`cases(options, report, lab, peer)` measures; `peer` is Open vSwitch and its lab, or None."""
    options = parse(suite, description)
    if os.geteuid() != 0:
        raise BenchError("needs root (network namespaces, eBPF): run it with sudo")
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError("needs two CPUs: one for the system, one for the generator")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, give_up)
    print(f"kernel {platform.release()}, {os.cpu_count()} CPUs, load {load():.2f}; {options.runs} runs; median (min to max)")
    report = Report(options.json, "Plexus")
    with Lab() as the_lab:
        ours = SetupLab(the_lab, "sp")
        if options.no_peer:
            cases(options, report, ours, None)
        else:
            theirs = SetupLab(the_lab, "so")
            with OvsUserspace(the_lab, theirs.netns, MACHINES, DESTINATIONS, SINK_MAC) as switch:
                cases(options, report, ours, (switch, theirs))
    if report.failures:
        raise BenchError(f"{report.failures} cases failed")


def told(call):
    """Runs main() with what should be read on the terminal there."""
    try:
        call()
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        sys.exit(1)
