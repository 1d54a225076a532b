# SPDX-License-Identifier: Apache-2.0
"""A machine that sends what it should not: the agent survives, drops have names, others do not notice."""
import contextlib
import itertools
import os
import random
import signal
import struct

import pytest

from frames import ARP, ICMP, IP, TCP, UDP, Dot1Q, Ether, IPv6, Raw
from netns import checksum, wait_until

ROUTER_MAC = "02:00:00:00:01:01"


def ether(frame, **fields):
    return Ether(src="02:00:00:00:01:11", dst=fields.pop("dst", ROUTER_MAC), **fields) / frame


def v4(payload=b"", **fields):
    return bytes(IP(src="10.1.1.11", dst="10.1.2.14", **fields) / payload)


def v6(payload=b"", **fields):
    return bytes(IPv6(src="fd00:1::11", dst="fd00:2::14", **fields) / payload)


def extension_chain(count):
    """`count` destination options headers, then UDP."""
    return b"".join(struct.pack("!BB6x", 60 if i + 1 < count else 17, 0) for i in range(count)) + bytes(UDP())


BAD = {
    # The kernel itself drops what is cut in the first tag.
    "truncated_vlan": [bytes(Ether(src="02:00:00:00:01:11", dst=ROUTER_MAC, type=0x8100)) + b"\x00\x05\x81\x00\x00\x06"],
    "truncated_arp": [bytes(ether(Raw(b"\x00\x01\x08\x00\x06\x04\x00\x01"), type=0x0806))],
    "bad_arp": [bytes(ether(ARP(hwtype=7, hwlen=6, plen=4))), bytes(ether(Raw(b"\x00\x01\x08\x00\x06\x05" + bytes(30)),
                                                                        type=0x0806))],
    "truncated_ipv4": [bytes(ether(Raw(v4()[:n]), type=0x0800)) for n in (1, 10, 19)]
                      + [bytes(ether(Raw(v4(bytes(20))[:-10]), type=0x0800))],
    "bad_ipv4": [bytes(ether(Raw(b"\x44" + v4(bytes(40))[1:]), type=0x0800)),
                 bytes(ether(Raw(b"\x65" + v4(bytes(40))[1:]), type=0x0800)),
                 bytes(ether(Raw(v4(bytes(40), len=10)), type=0x0800))],
    "truncated_ipv6": [bytes(ether(Raw(v6()[:n]), type=0x86DD)) for n in (1, 20, 39)],
    "bad_ipv6": [bytes(ether(Raw(b"\x45" + v6(bytes(40))[1:]), type=0x86DD))],
    "bad_ipv6_extension": [bytes(ether(Raw(v6(extension_chain(40), nh=60)), type=0x86DD)),
                           bytes(ether(Raw(v6(b"\x3c\xff" + bytes(6), nh=60)), type=0x86DD))],
    "truncated_l4": [bytes(ether(Raw(v4(bytes(3), proto=17)), type=0x0800)),
                     bytes(ether(Raw(v4(bytes(11), proto=6)), type=0x0800)),
                     bytes(ether(Raw(v4(bytes(2), proto=1)), type=0x0800)),
                     bytes(ether(Raw(v6(bytes(3), nh=58)), type=0x86DD))],
    "bad_source_mac": [bytes(Ether(src="03:00:00:00:00:01", dst="02:00:00:00:01:12", type=0x88B5) / Raw(bytes(46))),
                       bytes(Ether(src="ff:ff:ff:ff:ff:ff", dst="02:00:00:00:01:12", type=0x88B5) / Raw(bytes(46)))],
    "reserved_multicast": [bytes(ether(Raw(bytes(46)), dst="01:80:c2:00:00:00", type=0x88B5))],
    "not_ip": [bytes(ether(Raw(bytes(46)), type=0x88B5))],
    "bad_checksum": [bytes(ether(IP(src="10.1.1.11", dst="10.1.1.1") / ICMP(chksum=0xBEEF) / Raw(bytes(20))))],
    "bad_source_address": [bytes(ether(IP(src="127.0.0.1", dst="10.1.2.14") / UDP())),
                           bytes(ether(IP(src="224.0.0.1", dst="10.1.2.14") / UDP()))],
    "bad_destination_address": [bytes(ether(IP(src="10.1.1.11", dst="127.0.0.1") / UDP()))],
    "link_local_not_routed": [bytes(ether(IPv6(src="fe80::1", dst="fd00:2::14") / UDP()))],
    "multicast_not_routed": [bytes(ether(IPv6(src="fd00:1::11", dst="ff05::7") / UDP()))],
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_frames_are_dropped_with_a_reason(cloud, reason):
    def dropped():
        return cloud.h1.drops(reason)
    for frame in BAD[reason]:
        before = dropped()
        with cloud.vm1.raw() as raw:
            raw.send(frame)
        wait_until(lambda before=before: dropped() > before, 3, f"'{reason}' to be counted for {frame.hex()}: "
                   f"{cloud.h1.drops()}")
    assert cloud.h1.agent.alive()


def test_every_prefix_of_every_kind_of_packet(cloud):
    """Truncated at each byte; nothing breaks, other machines' pings go on."""
    pid = cloud.h1.agent.pid
    whole = [
        ether(ARP(psrc="10.1.1.11", pdst="10.1.1.1"), dst="ff:ff:ff:ff:ff:ff"),
        ether(IP(src="10.1.1.11", dst="10.1.2.14") / ICMP() / Raw(bytes(20))),
        ether(IP(src="10.1.1.11", dst="10.1.1.1") / ICMP() / Raw(bytes(20))),
        ether(IP(src="10.1.1.11", dst="10.1.2.14", options=[b"\x07\x04\x04\x00"]) / TCP() / Raw(bytes(20))),
        ether(IP(src="10.1.1.11", dst="10.1.2.14", frag=3) / UDP() / Raw(bytes(20))),
        ether(Raw(v6(extension_chain(3), nh=60)), type=0x86DD),
        ether(IPv6(src="fd00:1::11", dst="fd00:2::14") / TCP() / Raw(bytes(20))),
        Ether(src="02:00:00:00:01:11", dst="02:00:00:00:01:13") / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP() / UDP(),
    ]
    with cloud.vm3.pinger(cloud.vm4.v4) as far, cloud.vm6.pinger(cloud.vm4.v6) as near, cloud.vm1.raw() as raw:
        wait_until(lambda: cloud.vm6.reaches(cloud.vm4.v6), 2)
        for packet in whole:
            data = bytes(packet)
            for length in range(14, len(data) + 1):
                raw.send(data[:length])
        results = [far.stop(), near.stop()]
    for result in results:
        assert result.lost == 0, result
    assert cloud.h1.agent.alive() and cloud.h1.agent.pid == pid
    assert cloud.vm1.ping(cloud.vm4.v4).ok


def test_random_bytes(cloud):
    generator = random.Random(20261123)
    types = [b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00", b"\x88\xa8"]
    template = [v4(bytes(UDP() / Raw(bytes(30))), proto=17), v6(bytes(UDP() / Raw(bytes(30))), nh=17),
                bytes(ARP(psrc="10.1.1.11", pdst="10.1.1.1"))]
    with cloud.vm3.pinger(cloud.vm2.v4) as pinger, cloud.vm1.raw() as raw:
        for n in range(4000):
            head = bytes.fromhex(generator.choice(["020000000101", "ffffffffffff", "020000000113", "3333000000fb"]))
            body = bytearray(generator.choice(template) if n % 2 else generator.randbytes(generator.randrange(0, 200)))
            for _ in range(generator.randrange(0, 4)):
                if body:
                    body[generator.randrange(len(body))] = generator.randrange(256)
            raw.send(head + b"\x02\x00\x00\x00\x01\x11" + generator.choice(types) + bytes(body))
        result = pinger.stop()
    assert result.lost == 0, result
    assert cloud.h1.agent.alive() and cloud.h2.agent.alive()
    wait_until(lambda: cloud.vm1.ping(cloud.vm4.v4).ok, 5, "vm1 itself to work again")


@contextlib.contextmanager
def flood(machine, make):
    """Frames make(0), make(1), ... from a machine, as fast as one process can."""
    with machine.raw() as raw:
        pid = os.fork()
        if pid == 0:
            for n in itertools.count():
                try:
                    raw.send(make(n))
                except OSError:  # the queue is full
                    pass
        try:
            yield
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def numbered_mac(n):
    """A frame to one more MAC that nobody has."""
    return b"\x02\x99" + struct.pack("!I", n) + bytes.fromhex("02000000011188b5") + bytes(46)


def numbered_v4(n):
    """A packet to one more address in 96.0.0.0/3."""
    head = struct.pack("!BBHHHBBH4sI", 0x45, 0, 28, 1, 0, 64, 17, 0, bytes([10, 1, 1, 11]), 0x60000000 + n)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return bytes.fromhex("0200000001010200000001110800") + head + struct.pack("!HHHH", 1, 9, 8, 0)


def numbered_v6(n):
    """A packet to one more neighbour."""
    return NEIGHBOUR[:48] + struct.pack("!I", n) + NEIGHBOUR[52:]


NEIGHBOUR = bytes(ether(IPv6(src="fd00:1::11", dst="fd00:2::1:0") / UDP(sport=1, dport=9)))


def numbered_hops(n):
    """All kinds of hop limits, DSCPs and addresses, known and unknown."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, n & 0xFC, 28, 1, 0, n % 3, 17, 0, bytes([10, 1, 1, n // 3 % 250 + 1]),
                       bytes([10, 1, 2, n // 750 % 250 + 1]))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return bytes.fromhex("0200000001010200000001110800") + head + struct.pack("!HHHH", 1, n & 0xFFFF, 8, 0)


FLOODS = {"unknown macs": numbered_mac, "unrouted addresses": numbered_v4, "unknown neighbours": numbered_v6,
          "hop limits": numbered_hops}


def grown(host, before, counter):
    return host.status()["counters"][counter] - before["counters"][counter]


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_of_new_classes_hurts_only_its_sender(cloud, kind):
    """Each frame asks for a simulation of its own. Others' packets, also first ones, go on."""
    # Established before the flood; and pairs that have not talked yet.
    assert cloud.vm2.ping(cloud.vm3.v4).ok and cloud.vm6.ping(cloud.vm4.v4).ok
    number = 100 + list(FLOODS).index(kind)
    cloud.vm5.run("ip", "addr", "add", f"10.1.2.{number}/24", "dev", "eth0")
    before = cloud.h1.status()
    rss = cloud.h1.agent.resident_kib()
    with cloud.vm2.pinger(cloud.vm3.v4) as same, cloud.vm6.pinger(cloud.vm4.v4) as other:
        with flood(cloud.vm1, FLOODS[kind]):
            wait_until(lambda: grown(cloud.h1, before, "upcalls_limited") > 10000, 10, "the port's limit to be felt")
            answer = cloud.vm2.ping(f"10.1.2.{number}", count=3, interval=0.1, wait=4)
            assert answer.ok, ("a new neighbour from the same host", answer)
            answer = cloud.vm6.ping(cloud.vm3.v6, count=100, interval=0.01)
            assert answer.received >= 98, ("a new flow from the same host", answer, cloud.h1.status())
        results = [same.stop(), other.stop()]
    for result in results:
        assert result.lost <= 1, result
    assert cloud.h1.agent.alive()
    assert cloud.h1.status()["flows"] <= 100_000
    assert cloud.h1.agent.resident_kib() - rss < 300 * 1024
    # The limit is said where operators look: at the port.
    assert cloud.h1.ports()["vm1"]["upcalls_limited"] > 0
    wait_until(lambda: cloud.vm1.ping(cloud.vm4.v4).ok, 5, "the sender itself to work again")


def test_a_flood_fills_the_flow_table(cloud):
    """More classes than the table holds: old flows give way, memory stays bounded, others talk on."""
    before = cloud.h1.status()
    rss = cloud.h1.agent.resident_kib()
    with cloud.vm2.pinger(cloud.vm3.v4) as pinger:
        with flood(cloud.vm1, numbered_mac):
            wait_until(lambda: grown(cloud.h1, before, "flows_evicted") > 1000
                       or grown(cloud.h1, before, "flows_not_installed") > 1000
                       or grown(cloud.h1, before, "flows_installed") > 20_000, 60, "many flows", 0.2)
            assert cloud.vm6.ping(cloud.vm3.v6, count=100, interval=0.01, wait=3).received >= 98
        result = pinger.stop()
    assert result.lost <= 1, result
    assert cloud.h1.agent.resident_kib() - rss < 600 * 1024
    # Full or not: a flow that nobody had yet is installed now, so that its packets cost no upcalls.
    assert cloud.vm2.ping(cloud.vm4.v6, count=5).ok
    upcalls = cloud.h1.status()
    assert cloud.vm2.ping(cloud.vm4.v6, count=50, interval=0.002).ok
    assert grown(cloud.h1, upcalls, "upcalls") < 20
    wait_until(lambda: cloud.vm1.ping(cloud.vm4.v4).ok, 5, "the sender itself to work again")
    # And the next agent takes them all over, in a time that nobody minds.
    cloud.h1.stop_agent()
    cloud.h1.start_agent()
    assert cloud.vm1.ping(cloud.vm4.v4, count=20).ok


def test_large_frames(cloud):
    """Larger than any interface's MTU here: nothing stops working."""
    with cloud.vm1.raw() as raw:
        for size in (1500, 1501, 1600):
            try:
                raw.send(ether(Raw(bytes(size)), type=0x88B5))
            except OSError:  # EMSGSIZE: the machine's own kernel does not let it out
                pass
    assert cloud.vm1.ping(cloud.vm4.v4).ok


def test_a_machine_cannot_reach_the_underlay(cloud):
    """Not the hosts, not their tunnels: the overlay routes to what the router says."""
    assert not cloud.vm1.reaches(cloud.h1.underlay)
    assert not cloud.vm1.reaches(cloud.h2.underlay)
    with cloud.vm1.raw() as raw:
        raw.send(Ether(src=cloud.vm1.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="192.0.2.77", pdst=cloud.h1.underlay))
    assert "192.0.2.77" not in cloud.h1.namespace.run("ip", "neigh").stdout


def test_drop_counters_are_metrics_too(cloud):
    with cloud.vm1.raw() as raw:
        raw.send(BAD["bad_ipv4"][0])
        raw.send(BAD["truncated_l4"][0])
    wait_until(lambda: cloud.h1.drops("bad_ipv4") and cloud.h1.drops("truncated_l4"), 3, "two drops")
    done = cloud.h1.namespace.run("curl", "-s", "--unix-socket", cloud.run_dir / "h1" / "agent.sock",
                                  "http://localhost/metrics")
    for reason in ("bad_ipv4", "truncated_l4"):
        assert f'plexus_agent_drops_total{{reason="{reason}"}} ' in done.stdout
