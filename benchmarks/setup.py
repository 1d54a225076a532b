# SPDX-License-Identifier: Apache-2.0
"""How many new classes a second one worker takes from the miss to the flow installed and the packet out, beside Open vSwitch's
user-space datapath; and what is left of that under a flood. docs/benchmarks.md has the rules."""
from lab import BenchError
from quiet import load
from rows import make_row
from setup_lab import DESTINATIONS, FIRST, main, told

CLASSES, QUICK_CLASSES = 50_000, 20_000
FLOOD_DESTINATIONS = 65_536  # more classes than flows: there is always something new


def installed_a_second(result):
    return result["installed"] / result["nanoseconds"] * 1e9


def whole(result, classes):
    if result["arrived"] != classes or result["installed"] != classes:
        raise BenchError(f"of {classes} packets {result['arrived']} arrived, {result['installed']} flows were installed")
    return result


def new_classes(options, report, lab, peer):
    classes = QUICK_CLASSES if options.quick else CLASSES
    ours, busy, theirs, their_busy, delivered = [], [], [], [], []
    load_then, error = load(), None
    try:
        for _ in range(options.runs):
            result = whole(lab.measure("setup", "plexus", classes=classes, destinations=DESTINATIONS), classes)
            ours.append(installed_a_second(result))
            busy.append(result["worker_nanoseconds"] / classes)
            if peer:
                switch, their_lab = peer
                switch.forget()
                before = switch.nanoseconds()
                result = their_lab.measure("setup", "peer", classes=classes, destinations=DESTINATIONS)
                result["installed"] = switch.flows()
                theirs.append(installed_a_second(result))
                delivered.append(result["arrived"])
                their_busy.append((switch.nanoseconds() - before) / max(1, result["installed"]))
    except BenchError as problem:
        ours, error = [], str(problem)
    name = peer[0].name if peer else None
    report.add(make_row("setup", "new_classes_installed", "flows/s", ours, name, theirs, error, classes=classes,
                        load=load_then, peer_packets_arrived=delivered))
    report.add(make_row("setup", "new_class_cpu", "ns", busy, name, their_busy, error, classes=classes, load=load_then))


def flood(options, report, lab, _):
    """As many misses as one CPU can make, of all machines at once, for a second."""
    installed, misses, busy = [], [], []
    load_then, error = load(), None
    try:
        for _ in range(options.runs):
            result = lab.measure("flood", "plexus", FIRST, destinations=FLOOD_DESTINATIONS, seconds=1)
            installed.append(installed_a_second(result))
            misses.append(result["misses"] / result["nanoseconds"] * 1e9)
            busy.append(result["worker_nanoseconds"] / result["installed"])
    except BenchError as problem:
        installed, error = [], str(problem)
    report.add(make_row("setup", "flood_installed", "flows/s", installed, error=error, load=load_then))
    report.add(make_row("setup", "flood_cpu", "ns", busy, error=error, load=load_then))
    report.add(make_row("setup", "flood_misses", "misses/s", misses, error=error, load=load_then))


def cases(options, report, lab, peer):
    for name, case in (("new_classes", new_classes), ("flood", flood)):
        if options.only in name:
            case(options, report, lab, peer)


if __name__ == "__main__":
    told(lambda: main("setup", __doc__, cases))
