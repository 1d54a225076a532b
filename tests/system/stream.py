#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A paced stream of numbered UDP packets between two machines, and what became of each.

Both ends are processes of their own (this file is also their program), so that a busy test does not disturb them."""
import collections
import json
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

_SO_RCVBUFFORCE = 33
_HEADER = struct.Struct("!Q")


class StreamResult:
    """sent, received, duplicated: packets; lost: numbers of those that never came."""

    def __init__(self, sent, seen, rate):
        counts = collections.Counter(seen)
        self.sent, self.rate = sent, rate
        self.received = len(counts)
        self.duplicated = sum(counts.values()) - len(counts)
        self.lost = [n for n in range(sent) if n not in counts]

    @property
    def gaps(self):
        """(seconds after the start, packets) of each run of lost packets."""
        out = []
        for n in self.lost:
            if out and n == out[-1][0] + out[-1][1]:
                out[-1][1] += 1
            else:
                out.append([n, 1])
        return [(round(first / self.rate, 3), count) for first, count in out]

    @property
    def longest_gap(self):
        """Seconds."""
        return max((count for _, count in self.gaps), default=0) / self.rate

    @property
    def whole(self):
        return self.sent > 0 and not self.lost and not self.duplicated

    def __repr__(self):
        return (f"<{self.sent} sent, {len(self.lost)} lost, {self.duplicated} twice; "
                f"gaps (at second, packets): {self.gaps[:12]}>")


class Stream:
    """Packets from one machine to an address of another, `rate` a second, until stop(). Use as a context manager."""

    def __init__(self, sender, receiver, address, port=7000, rate=1000):
        self._rate = rate
        program = [sys.executable, "-B", str(pathlib.Path(__file__).resolve())]
        family = "6" if ":" in address else "4"
        self._receiver = receiver.namespace.popen(*program, "receive", family, port, stdout=subprocess.PIPE, text=True)
        assert self._receiver.stdout.readline() == "ready\n"
        self._sender = sender.namespace.popen(*program, "send", family, address, port, rate, stdout=subprocess.PIPE, text=True)
        assert self._sender.stdout.readline() == "ready\n"

    def stop(self):
        """Ends it and says what was lost."""
        self._sender.send_signal(signal.SIGTERM)
        sent = json.loads(self._sender.communicate(timeout=20)[0])
        time.sleep(0.5)  # what is under way
        self._receiver.send_signal(signal.SIGTERM)
        seen = json.loads(self._receiver.communicate(timeout=20)[0])
        return StreamResult(sent, seen, self._rate)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self._sender, self._receiver):
            if process.poll() is None:
                process.kill()
                process.communicate()


class _Ended(Exception):
    pass


def _end(*_):
    raise _Ended


def _send(family, address, port, rate):
    """Numbers from 0 on. What a busy machine made us miss is caught up with in small groups."""
    out = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
    out.connect((address, int(port)))
    print("ready", flush=True)
    sent, start = 0, time.monotonic()
    try:
        while True:
            due = min(int((time.monotonic() - start) * int(rate)) + 1, sent + 20)
            while sent < due:
                try:
                    out.send(_HEADER.pack(sent) + bytes(24))
                except OSError:  # an ICMP error for an earlier one, or no route just now: it counts as sent
                    pass
                sent += 1
            time.sleep(0.0005)
    except _Ended:
        print(json.dumps(sent), flush=True)


def _receive(family, port):
    inbox = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
    inbox.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    inbox.bind(("", int(port)))
    print("ready", flush=True)
    seen = []
    try:
        while True:
            seen.append(_HEADER.unpack_from(inbox.recv(2048))[0])
    except _Ended:
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    if sys.argv[1] == "send":
        _send(*sys.argv[2:])
    else:
        _receive(*sys.argv[2:])
