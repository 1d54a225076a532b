# SPDX-License-Identifier: Apache-2.0
"""Patience with a machine that does other things as well: disturbed runs are made again.

Whether a run counts is decided by what the CPUs did besides, never by its result, and by the same rule for all systems.
"""
import time


def load():
    """The load average of the last minute."""
    with open("/proc/loadavg", encoding="utf-8") as file:
        return float(file.read().split()[0])


class Patience:
    """How long, in all, we wait and repeat for the sake of quiet."""

    def __init__(self, seconds):
        self._left = float(seconds)
        self.disturbed = 0  # runs that counted although they were disturbed

    def undisturbed(self, measure):
        """What measure() returns, a Sent, repeated while it was disturbed and patience is left."""
        while True:
            start = time.monotonic()
            result = measure()
            if not result.disturbed:
                return result
            if self._left <= 0:
                self.disturbed += 1
                return result
            self._wait(time.monotonic() - start)

    def _wait(self, spent):
        self._left -= spent + 0.5
        time.sleep(0.5)
