# SPDX-License-Identifier: Apache-2.0
"""What one simulation costs, in nanoseconds and allocations. There is no peer."""
import argparse
import json
import sys

from lab import GENERATOR_CPU, BenchError, run
from path import require
from rows import Report, make_row


def main():
    parser = argparse.ArgumentParser(prog="./bench simulate", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a line")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each case (default 7)")
    parser.add_argument("--quick", action="store_true", help="fewer, shorter runs: to see that it works, not to quote")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    options = parser.parse_args()
    runs = (3 if options.quick else 7) if options.runs is None else max(1, options.runs)

    out = json.loads(run("taskset", "-c", str(GENERATOR_CPU), require("plexus-bench-simulate"),
                         f"--benchmark_repetitions={runs}", f"--benchmark_min_time={0.05 if options.quick else 0.5}",
                         "--benchmark_enable_random_interleaving=true", "--benchmark_format=json",
                         f"--benchmark_filter=.*{options.only}.*", timeout=600))
    report = Report(options.json, "Plexus")
    cases = {}
    for one in out["benchmarks"]:
        if one["run_type"] == "iteration":
            cases.setdefault(one["name"].removeprefix("simulate_flows/"), []).append(one)
    for case, measured in cases.items():
        failed = [one["error_message"] for one in measured if one.get("error_occurred")]
        if failed:
            report.add(make_row("simulate", case, "ns", [], error=failed[0]))
            continue
        report.add(make_row("simulate", case, "ns", [one["cpu_time"] for one in measured],
                            allocations=round(measured[0].get("allocations", 0), 2)))
    if not cases or report.failures:
        raise BenchError("no case, or a case failed")


if __name__ == "__main__":
    try:
        main()
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        sys.exit(1)
