# SPDX-License-Identifier: Apache-2.0
"""How long the first packet of a new class is on its way, in quiet and while another machine's port floods new classes, beside Open
vSwitch's user-space datapath. docs/benchmarks.md has the rules."""
from lab import BenchError
from quiet import load
from rows import make_row
from setup_lab import DESTINATIONS, main, told

PROBES, QUICK_PROBES = 2000, 500
FLOOD = 500_000  # new classes a second, of one port
FLOOD_DESTINATIONS = 65_536


def microseconds(result, what, probes):
    if result["probes"] < probes * 0.99:
        raise BenchError(f"of {probes} first packets {result['probes']} arrived")
    return result[what] / 1000


def cases(options, report, lab, peer):
    probes = QUICK_PROBES if options.quick else PROBES
    load_then = load()
    figures = {}
    errors = {}

    def measure(who, the_lab, flooded, **more):
        key = (who, flooded)
        try:
            result = the_lab.measure("latency", who, classes=probes, flood=FLOOD if flooded else 0, **more)
            for what in ("p50", "p99"):
                figures.setdefault((*key, what), []).append(microseconds(result, what, probes))
        except BenchError as problem:
            errors[key] = str(problem)

    for _ in range(options.runs):
        for flooded in (False, True):
            measure("plexus", lab, flooded, destinations=FLOOD_DESTINATIONS)
            if peer:
                switch, their_lab = peer
                switch.forget()
                measure("peer", their_lab, flooded, destinations=DESTINATIONS)
    name = peer[0].name if peer else None
    for flooded, suffix in ((False, "quiet"), (True, "flooded")):
        for what in ("p50", "p99"):
            case = f"first_packet_{what}_{suffix}"
            if options.only in case:
                error = errors.get(("plexus", flooded))
                report.add(make_row("fairness", case, "us", [] if error else figures[("plexus", flooded, what)], name,
                                    figures.get(("peer", flooded, what), []), error, probes=probes, load=load_then,
                                    peer_error=errors.get(("peer", flooded))))
    if not errors.keys() & {("plexus", False), ("plexus", True)} and options.only in "first_packet_p99_ratio":
        ratios = [f / q for f, q in zip(figures[("plexus", True, "p99")], figures[("plexus", False, "p99")])]
        report.add(make_row("fairness", "first_packet_p99_ratio", "flooded/quiet", ratios, probes=probes, load=load_then))


if __name__ == "__main__":
    told(lambda: main("fairness", __doc__, cases))
