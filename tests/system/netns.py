# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, processes and raw sockets inside them, captures.

A capture needs no thread: its packets wait in the kernel's socket buffer until a test asks for them.
"""
import contextlib
import ctypes
import os
import re
import secrets
import select
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
    """Which echo requests were answered, and the errors that came instead: (from whom, what)."""

    def __init__(self, sent, sequences, errors, detail=""):
        self.sent, self.sequences, self.errors, self.detail = sent, sequences, errors, detail

    @property
    def received(self):
        return len(self.sequences)

    @property
    def ok(self):
        return self.sent > 0 and self.received == self.sent

    @property
    def lost(self):
        """How many are missing up to the last that was answered."""
        return max(self.sequences, default=0) - len(self.sequences)

    def __repr__(self):
        missing = sorted(set(range(1, self.sent + 1)) - self.sequences)
        return f"<{self.received} of {self.sent} answered, missing {missing[:20]}, errors {self.errors}{self.detail}>"


_ERRORS = {
    4: {(3, 0): "network unreachable", (3, 1): "host unreachable", (3, 3): "port unreachable",
        (3, 4): "fragmentation needed", (3, 9): "prohibited", (3, 10): "prohibited", (3, 13): "prohibited",
        (11, 0): "time exceeded"},
    6: {(1, 0): "no route", (1, 1): "prohibited", (1, 3): "address unreachable", (1, 4): "port unreachable",
        (1, 6): "rejected", (2, 0): "too big", (3, 0): "time exceeded"},
}


class _Echo:
    """Echo requests and what comes back. ping(8) stops listening early once something was answered, see its
    __schedule_exit: on a busy machine it misses the last answers."""

    def __init__(self, namespace, address, size, ttl, whole):
        self.version = 6 if ":" in address else 4
        v6 = self.version == 6
        self.socket = namespace.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                                       socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
        self.socket.setblocking(False)
        if ttl is not None:
            self.socket.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if v6
                                     else (socket.IPPROTO_IP, socket.IP_TTL)), ttl)
        if whole:
            self.socket.setsockopt(*((socket.IPPROTO_IPV6, 23) if v6 else (socket.IPPROTO_IP, 10)), 2)  # never fragment
        self.address, self.ident = address, secrets.randbelow(65536)
        self.payload = secrets.token_bytes(size)
        self.sequences, self.errors, self.done = set(), [], set()

    def send(self, sequence):
        kind = 128 if self.version == 6 else 8
        packet = struct.pack("!BBHHH", kind, 0, 0, self.ident, sequence) + self.payload
        if self.version == 4:
            packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
        try:
            self.socket.sendto(packet, (self.address, 0))
        except OSError as e:
            self.errors.append(("here", e.strerror))
            self.done.add(sequence)

    def receive(self):
        while True:
            try:
                data, source = self.socket.recvfrom(70000)
            except BlockingIOError:
                return
            except OSError as e:  # what the kernel was told about this socket's packets
                self.errors.append(("here", e.strerror))
                continue
            if self.version == 4:
                data = data[(data[0] & 15) * 4:]
            self._take(data, source[0])

    def _take(self, data, source):
        if len(data) < 8:
            return
        kind, code, _, ident, sequence = struct.unpack("!BBHHH", data[:8])
        if kind == (129 if self.version == 6 else 0):
            if ident == self.ident and source == self.address and data[8:] == self.payload:
                self.sequences.add(sequence)
                self.done.add(sequence)
            return
        inner = data[8:]
        if kind not in ((1, 2, 3) if self.version == 6 else (3, 11)) or len(inner) < 20:
            return
        at = (inner[0] & 15) * 4
        if self.version == 6:
            at = 48 if inner[6] == 44 else 40
        if len(inner) >= at + 8:
            ident, sequence = struct.unpack("!HH", inner[at + 4:at + 8])
            if ident == self.ident:
                self.errors.append((source, _ERRORS[self.version].get((kind, code), f"type {kind} code {code}")))
                self.done.add(sequence)


def checksum(data):
    """The internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(namespace, address, count=1, size=56, wait=2, interval=0.02, ttl=None, whole=False):
    """Sends `count` echo requests, and waits up to `wait` seconds after the last until each is answered."""
    echo = _Echo(namespace, address, size, ttl, whole)
    with echo.socket:
        sent, next_at = 0, time.monotonic()
        while True:
            now = time.monotonic()
            if sent < count and now >= next_at:
                sent += 1
                echo.send(sent)
                next_at = now + (interval if sent < count else wait)
            elif sent == count and now >= next_at:
                break
            select.select([echo.socket], [], [], max(0, next_at - time.monotonic()))
            echo.receive()
            if sent == count and len(echo.done) >= count:
                break
    return PingResult(sent, echo.sequences, echo.errors)


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
        found = re.search(r"(\d+) packets transmitted", output)
        sequences = {int(n) for n in re.findall(r"bytes from .*icmp_seq=(\d+)", output)}
        return PingResult(int(found[1]) if found else 0, sequences, re.findall(r"From (\S+) icmp_seq=\d+ (.*)", output))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
