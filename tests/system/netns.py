# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, processes and raw sockets inside them, captures.

A capture needs no thread: its packets wait in the kernel's socket buffer until a test asks for them.
"""
import contextlib
import ctypes
import os
import re
import socket
import struct
import subprocess
import threading
import time

PREFIX = "plexus-system-"

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_entering = threading.Lock()

ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_PACKET_OUTGOING = 4
_SO_RCVBUFFORCE = 33
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6


def wait_until(condition, timeout=5.0, what="the condition", interval=0.02):
    """Waits until condition() is true and returns its value. The condition, not the clock, decides."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {timeout} s (last value: {value!r})")
        time.sleep(interval)


def _set_namespace(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """A network namespace of ours."""

    def __init__(self, name):
        assert name.startswith(PREFIX)
        self.name = name
        self.path = f"/run/netns/{name}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *arguments):
        return ["nsenter", f"--net={self.path}", *map(str, arguments)]

    def run(self, *arguments, check=True, timeout=60, **options):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout,
                              check=False, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, arguments))} in {self.name}: exit status {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def popen(self, *arguments, **options):
        return subprocess.Popen(self.command(*arguments), **options)

    @contextlib.contextmanager
    def entered(self):
        """This thread inside the namespace. Sockets that are opened here stay here."""
        with _entering:
            own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            target = os.open(self.path, os.O_RDONLY)
            try:
                _set_namespace(target)
                try:
                    yield
                finally:
                    _set_namespace(own)
            finally:
                os.close(own)
                os.close(target)

    def socket(self, family, kind, protocol=0):
        with self.entered():
            return socket.socket(family, kind, protocol)

    def links(self):
        return set(re.findall(r"^\d+: ([^:@]+)", self.run("ip", "-o", "link").stdout, re.M))

    def has_link(self, name):
        return name in self.links()

    def counter(self, name):
        """A counter of the kernel's SNMP tables, as TcpInCsumErrors."""
        out = self.run("nstat", "-asz", name).stdout
        return int(re.search(rf"^{name}\s+(\d+)", out, re.M).group(1))

    def delete(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


class Capture:
    """What passes one interface, as raw frames with their VLAN tags.

    incoming: only what comes into the interface from its other end.
    """

    def __init__(self, namespace, interface, incoming=False):
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if incoming:
            self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self.socket.setblocking(False)
        with namespace.entered():
            self.socket.bind((interface, ETH_P_ALL))
        self._frames = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def frames(self):
        """All frames since the start."""
        while True:
            try:
                frame, ancillary, _, _ = self.socket.recvmsg(70000, 256)
            except BlockingIOError:
                return self._frames
            self._frames.append(self._with_tag(frame, ancillary))

    @staticmethod
    def _with_tag(frame, ancillary):
        for level, kind, data in ancillary:
            if level != _SOL_PACKET or kind != _PACKET_AUXDATA:
                continue
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & _TP_STATUS_VLAN_VALID:
                if not status & _TP_STATUS_VLAN_TPID_VALID:
                    tpid = 0x8100
                return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame

    def matching(self, predicate):
        return [f for f in self.frames() if predicate(f)]

    def wait_for(self, predicate, count=1, timeout=5.0, what="frames"):
        wait_until(lambda: len(self.matching(predicate)) >= count, timeout, f"{count} {what}")
        return self.matching(predicate)


class RawPort:
    """Sends frames from an interface, byte for byte."""

    def __init__(self, namespace, interface):
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with namespace.entered():
            self.socket.bind((interface, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, frame):
        self.socket.send(bytes(frame))


class PingResult:
    def __init__(self, output):
        self.output = output
        found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
        self.sent, self.received = (int(found[1]), int(found[2])) if found else (0, 0)
        self.sequences = {int(n) for n in re.findall(r"bytes from .*icmp_seq=(\d+)", output)}

    @property
    def ok(self):
        return self.sent > 0 and self.received == self.sent

    @property
    def lost(self):
        """How many are missing up to the last that was answered."""
        return max(self.sequences, default=0) - len(self.sequences)

    def __repr__(self):
        return f"<{self.received} of {self.sent} answered>\n{self.output}"


def ping(namespace, address, count=1, size=56, wait=2, interval=0.02, extra=()):
    done = namespace.run("ping", "-n", "-c", count, "-i", interval, "-W", wait, "-s", size, *extra, address,
                         check=False)
    return PingResult(done.stdout + done.stderr)


class Pinger:
    """A ping that goes on in the background while a test does something."""

    def __init__(self, namespace, address, interval=0.02):
        # -W: no answer holds up the next request, and stopping waits for the last one no longer than this.
        self.process = namespace.popen("ping", "-n", "-i", interval, "-W", 1, address, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(2)
        output, _ = self.process.communicate(timeout=20)
        return PingResult(output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
