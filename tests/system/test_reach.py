# SPDX-License-Identifier: Apache-2.0
"""Machines reach each other: same host, other host, other subnet, both; small, large, TCP, UDP; both families."""
import itertools
import json
import secrets
import socket

import pytest

from frames import IP, UDP, Ether, IPv6, checksum_ok, has, tunnel_packets
from netns import Capture, wait_until

PAIRS = {
    "same host": ("vm1", "vm2"),
    "other host": ("vm1", "vm3"),
    "same host, other subnet": ("vm1", "vm6"),
    "other host, other subnet": ("vm1", "vm4"),
    "unknown machine": ("vm1", "vm5"),
}


def address_of(machine, family):
    return machine.v4 if family == "ipv4" else machine.v6


@pytest.mark.parametrize("size", [56, 3000])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_all_pairs_ping(cloud, family, size):
    machines = list(cloud.machines.values())
    failed = []
    for a, b in itertools.permutations(machines, 2):
        answer = a.ping(address_of(b, family), count=3, interval=0.005, size=size, wait=3)
        if not answer.ok:
            failed.append(f"{a.name} -> {b.name}: {answer}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("pair", PAIRS)
def test_packets_of_mtu_size(cloud, pair, family):
    a, b = (getattr(cloud, n) for n in PAIRS[pair])
    with Capture(cloud.fabric, "to-h1", incoming=True) as capture:
        answer = a.ping(address_of(b, family), count=5, size=1472 if family == "ipv4" else 1452, whole=True)
        assert answer.ok, answer
        for outer in map(Ether, capture.frames()):
            assert IP not in outer or (outer[IP].flags.MF == 0 and outer[IP].frag == 0), "a fragment on the fabric"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("pair", ["same host", "other host", "other host, other subnet", "same host, other subnet"])
def test_tcp(cloud, pair, family):
    a, b = (getattr(cloud, n) for n in PAIRS[pair])
    bad_before = b.namespace.counter("TcpInCsumErrors")
    server = b.namespace.popen("iperf3", "-s", "-1", "-p", 5201, stdout=-3, stderr=-3)
    try:
        wait_until(lambda: ":5201" in b.run("ss", "-ltn").stdout, 5, "iperf3's server")
        done = a.run("iperf3", "-c", address_of(b, family), "-p", 5201, "-n", "100M", "--json", timeout=30)
        report = json.loads(done.stdout)
    finally:
        server.kill()
        server.wait()
    assert report["end"]["sum_received"]["bytes"] >= 50e6  # what is in flight at the end is not counted
    assert b.namespace.counter("TcpInCsumErrors") == bad_before


def udp_exchange(cloud, a, b, family, payload):
    """One datagram from a to b; what b got, who sent it, and the frame as b's interface saw it."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    with b.namespace.socket(kind, socket.SOCK_DGRAM) as receiver, \
            a.namespace.socket(kind, socket.SOCK_DGRAM) as sender, b.capture() as capture:
        receiver.bind((address_of(b, family), 0))
        receiver.settimeout(5)
        sender.sendto(payload, (address_of(b, family), receiver.getsockname()[1]))
        data, source = receiver.recvfrom(65535)
        return data, source[0], capture.wait_for(has(payload))[0]


@pytest.mark.parametrize("offload", ["on", "off"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("pair", PAIRS)
def test_udp(cloud, pair, family, offload):
    """Without offloads the sender writes the checksum, and each rewrite on the way has to keep it right."""
    a, b = (getattr(cloud, n) for n in PAIRS[pair])
    a.run("ethtool", "-K", "eth0", "tx", offload, check=False)
    try:
        payload = secrets.token_bytes(333)
        data, source, frame = udp_exchange(cloud, a, b, family, payload)
        assert data == payload
        assert source == address_of(a, family)
        if offload == "off":
            packet = Ether(frame)
            assert packet[UDP].chksum != 0
            assert checksum_ok(frame), packet.show(dump=True)
            routed = a.v4.rsplit(".", 1)[0] != b.v4.rsplit(".", 1)[0]
            ttl = packet[IP].ttl if family == "ipv4" else packet[IPv6].hlim
            assert ttl == 64 - routed
    finally:
        a.run("ethtool", "-K", "eth0", "tx", "on", check=False)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_large_datagrams(cloud, family):
    """Fragments of one datagram all take the same way."""
    payload = secrets.token_bytes(20000)
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    for b in (cloud.vm2, cloud.vm3, cloud.vm4):
        with b.namespace.socket(kind, socket.SOCK_DGRAM) as receiver, \
                cloud.vm1.namespace.socket(kind, socket.SOCK_DGRAM) as sender:
            receiver.bind((address_of(b, family), 0))
            receiver.settimeout(5)
            sender.sendto(payload, (address_of(b, family), receiver.getsockname()[1]))
            assert receiver.recv(65535) == payload, b.name


def test_same_machine_is_not_reached_over_the_fabric(cloud):
    """Traffic inside a host stays there, also through the router."""
    with cloud.h1.uplink_capture() as capture:
        assert cloud.vm1.ping(cloud.vm2.v4, count=3).ok
        assert cloud.vm1.ping(cloud.vm6.v6, count=3).ok
        inner = [bytes(inner) for _, _, inner in tunnel_packets(capture.frames())]
        addresses = [socket.inet_pton(socket.AF_INET, cloud.vm2.v4), socket.inet_pton(socket.AF_INET6, cloud.vm6.v6)]
        echoes = [f for f in inner if any(a in f for a in addresses) and Ether(f).type in (0x0800, 0x86DD)
                  and not (Ether(f).type == 0x86DD and Ether(f)[IPv6].dst.startswith("ff02"))]
        assert not echoes, [Ether(f).summary() for f in echoes]
