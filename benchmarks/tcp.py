# SPDX-License-Identifier: Apache-2.0
"""Bulk TCP between two machines: iperf3 streams that take turns.

Each contender has one stream; all but one stand still (SIGSTOP). Turns are short, so that whatever else the machine does, it does
to all of them alike."""
import os
import signal
import statistics
import time

from lab import BenchError, run, stop, wait_until

PORT = "5201"
TURN, WARM_UP = 0.05, 0.02  # seconds; of a turn that counts, and before it
START = 0.4  # a stream's first seconds do not count
# One that measures by itself how fast it may send (BBR) would measure the pauses.
CONGESTION_CONTROL = "cubic"
# Real-time, so that a busy machine does not give one contender more time than the other; taking turns, as they wait for each other.
PRIORITY = ("chrt", "-r", "1")


class Stream:
    """From the client's namespace to the server's, which has `eth0`. `cpus`: the client's, the server's."""

    def __init__(self, the_lab, client, server, address, cpus):
        for netns in (client, server):
            run("sysctl", "-qw", "net.ipv4.tcp_slow_start_after_idle=0", netns=netns)
        self._server = the_lab.start("iperf-server", *PRIORITY, "iperf3", "-s", "-1", "-p", PORT, netns=server, cpu=cpus[1])
        self._client = None
        try:
            wait_until("iperf3 server", 10, lambda: f":{PORT}" in run("ss", "-Hltn", netns=server))
            self._client = the_lab.start("iperf-client", *PRIORITY, "iperf3", "-c", address, "-p", PORT, "-t", "3600", "-C",
                                         CONGESTION_CONTROL, netns=client, cpu=cpus[0])
            time.sleep(START)
        except BaseException:
            self.end()
            raise
        self._signal(signal.SIGSTOP)

    def _signal(self, number):
        for process in (self._client, self._server):
            if process is not None and process.poll() is None:
                os.kill(process.pid, number)

    def _received(self):
        with open(f"/proc/{self._server.pid}/net/dev", encoding="ascii") as file:
            for line in file:
                name, _, counters = line.partition(":")
                if name.strip() == "eth0":
                    return int(counters.split()[0])
        raise BenchError("the iperf3 server's namespace has no eth0")

    def turn(self):
        """Gbit/s that the server's interface received, headers included."""
        if self._client.poll() is not None or self._server.poll() is not None:
            raise BenchError("iperf3 ended")
        self._signal(signal.SIGCONT)
        time.sleep(WARM_UP)
        start, before = time.monotonic(), self._received()
        time.sleep(TURN)
        end, after = time.monotonic(), self._received()
        self._signal(signal.SIGSTOP)
        return (after - before) * 8 / (end - start) / 1e9

    def end(self):
        self._signal(signal.SIGCONT)
        for process in (self._client, self._server):
            if process is not None:
                stop(process)


def gbits(the_lab, ends, cpus, turns):
    """Each contender's median of `turns` turns, through new streams. `ends`: by name; namespace of the client, of the server, the
    server's address."""
    streams = {}
    try:
        for name, (client, server, address) in ends.items():
            streams[name] = Stream(the_lab, client, server, address, cpus)
        speeds = {name: [] for name in ends}
        for turn in range(turns):
            names = list(streams)
            for name in names if turn % 2 == 0 else reversed(names):
                speeds[name].append(streams[name].turn())
        return {name: statistics.median(values) for name, values in speeds.items()}
    finally:
        for stream in streams.values():
            stream.end()
