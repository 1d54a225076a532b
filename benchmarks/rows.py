# SPDX-License-Identifier: Apache-2.0
"""Results as rows: one JSON object a line for programs, one line of text for people. docs/benchmarks.md explains both."""
import json
import statistics

HIGHER_IS_BETTER = {"Gbit/s", "flows/s"}


def summary(values):
    """(median, min, max), or three times None for nothing measured."""
    if not values:
        return None, None, None
    return tuple(round(f(values), 3) for f in (statistics.median, min, max))


def make_row(suite, case, unit, values, peer=None, peer_values=(), error=None, **more):
    """A row; `more` are additional fields. ratio > 1: faster than the peer."""
    median, least, most = summary(values)
    peer_median, peer_least, peer_most = summary(peer_values)
    ratio = None
    if median and peer_median:
        ratio = round(median / peer_median if unit in HIGHER_IS_BETTER else peer_median / median, 3)
    row = {"suite": suite, "case": case, "unit": unit, "median": median, "min": least, "max": most,
           "runs": max(len(values), len(peer_values)), "peer": peer, "peer_median": peer_median, "ratio": ratio,
           "peer_min": peer_least, "peer_max": peer_most, **more}
    if error is not None:
        row["error"] = error
    return row


def _figure(name, median, least, most):
    return "" if median is None else f"{name} {median:.4g} ({least:.4g} to {most:.4g})"


def text_of(row, system):
    parts = [_figure(system, row["median"], row["min"], row["max"]),
             _figure(row["peer"], row["peer_median"], row["peer_min"], row["peer_max"]),
             "" if row["ratio"] is None else f"ratio {row['ratio']:.2f}",
             "" if row.get("p99") is None else f"p99 {row['p99']:.4g}",
             "" if not row.get("disturbed") else f"{row['disturbed']} runs disturbed",
             "" if "error" not in row else f"FAILED: {row['error']}"]
    return f"{row['case']:<36} {row['unit']:<10} {', '.join(part for part in parts if part)}"


class Report:
    """Writes each row as soon as it is known."""

    def __init__(self, path, system):
        self._file = open(path, "w", encoding="utf-8") if path else None
        self._system = system
        self.failures = 0

    def add(self, row, system=None):
        """`system` is who the figures are of, where it is not who the report is about."""
        self.failures += "error" in row
        print(text_of(row, self._system if system is None else system), flush=True)
        if self._file:
            print(json.dumps(row), file=self._file, flush=True)
