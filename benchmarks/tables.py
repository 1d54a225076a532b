# SPDX-License-Identifier: Apache-2.0
"""The driver of the suites about tables of a million things, which are programs of their own: runs one, reports its cases."""
import argparse
import json
import sys

from lab import GENERATOR_CPU, BenchError, run
from path import require
from rows import Report, make_row


def main(suite, description):
    """The suite plexus-bench-SUITE; its rows say how many of SUITE there were."""
    parser = argparse.ArgumentParser(prog=f"./bench {suite}", description=description)
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a line")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each case (default 7)")
    parser.add_argument("--quick", action="store_true", help="one run: to see that it works, not to quote")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name (all are run)")
    options = parser.parse_args()
    runs = (1 if options.quick else 7) if options.runs is None else max(1, options.runs)
    try:
        _measure(suite, options, runs)
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        sys.exit(1)


def _measure(suite, options, runs):
    cases = {}
    for line in run("taskset", "-c", str(GENERATOR_CPU), require(f"plexus-bench-{suite}"), str(runs),
                    timeout=1800).splitlines():
        one = json.loads(line)
        cases.setdefault(one["case"], []).append(one)
    report = Report(options.json, "Plexus")
    shown = {case: measured for case, measured in cases.items() if options.only in case}
    for case, measured in shown.items():
        more = {"allocations": measured[0]["allocations"]} if "allocations" in measured[0] else {}
        report.add(make_row(suite, case, measured[0]["unit"], [one["value"] for one in measured],
                            **{suite: 1_000_000}, **more))
    if not shown:
        raise BenchError("no case has that in its name")
