# SPDX-License-Identifier: Apache-2.0
"""The router as the machines see it: a hop with addresses, errors, neighbours to find, routes that change."""
import secrets
import time

import pytest

from frames import (ARP, BROADCAST, ICMP, IP, UDP, Ether, ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS,
                    ICMPv6TimeExceeded, IPerror, IPv6, Raw, checksum_ok, has)
from netns import wait_until

ROUTER_MAC = "02:00:00:00:01:01"


@pytest.mark.parametrize("target", ["vm6", "vm4", "vm5"])
def test_trace_route_shows_the_router(cloud, target):
    vm = getattr(cloud, target)
    answer = cloud.vm1.ping(vm.v4, ttl=1)
    assert answer.errors == [("10.1.1.1", "time exceeded")], answer
    answer = cloud.vm1.ping(vm.v6, ttl=1)
    assert answer.errors == [("fd00:1::1", "time exceeded")], answer
    # One hop only, however many devices and hosts.
    assert cloud.vm1.ping(vm.v4, ttl=2).ok
    assert cloud.vm1.ping(vm.v6, ttl=2).ok


def test_time_exceeded_quotes_the_packet(cloud):
    """RFC 792 and RFC 4443 3.3: the error carries the packet that caused it, so that the sender knows whose it is."""
    payload = secrets.token_bytes(32)
    with cloud.vm1.capture() as capture, cloud.vm1.raw() as raw:
        raw.send(Ether(src=cloud.vm1.mac, dst=ROUTER_MAC) / IP(src=cloud.vm1.v4, dst=cloud.vm4.v4, ttl=1, id=77)
                 / UDP(sport=40000, dport=33434) / Raw(payload))
        frame = capture.wait_for(lambda f: ICMP in Ether(f) and Ether(f)[ICMP].type == 11)[0]
        packet = Ether(frame)
        assert (packet.src, packet.dst) == (ROUTER_MAC, cloud.vm1.mac)
        assert (packet[IP].src, packet[IP].dst) == ("10.1.1.1", cloud.vm1.v4)
        assert packet[ICMP].code == 0
        assert packet[IPerror].dst == cloud.vm4.v4 and packet[IPerror].id == 77
        assert checksum_ok(frame)

        raw.send(Ether(src=cloud.vm1.mac, dst=ROUTER_MAC) / IPv6(src=cloud.vm1.v6, dst=cloud.vm4.v6, hlim=1)
                 / UDP(sport=40000, dport=33434) / Raw(payload))
        frame = capture.wait_for(lambda f: ICMPv6TimeExceeded in Ether(f))[0]
        packet = Ether(frame)
        assert (packet[IPv6].src, packet[IPv6].dst) == ("fd00:1::1", cloud.vm1.v6)
        assert payload in frame, "IPv6 errors quote as much as fits"
        sent = packet[ICMPv6TimeExceeded].cksum
        del packet[ICMPv6TimeExceeded].cksum
        assert Ether(bytes(packet))[ICMPv6TimeExceeded].cksum == sent


def test_errors_are_never_answered_by_errors(cloud):
    """RFC 1122 3.2.2: no error about an error, a broadcast or a later fragment."""
    token = secrets.token_bytes(32)
    bad = [
        IP(src=cloud.vm1.v4, dst=cloud.vm4.v4, ttl=1) / ICMP(type=3, code=1) / Raw(bytes(28) + token),
        IP(src=cloud.vm1.v4, dst=cloud.vm4.v4, ttl=1, frag=100) / Raw(token),
        IP(src="0.0.0.0", dst=cloud.vm4.v4, ttl=1) / UDP() / Raw(token),
        IP(src="224.0.0.5", dst=cloud.vm4.v4, ttl=1) / UDP() / Raw(token),
    ]
    with cloud.vm1.capture() as capture, cloud.vm1.raw() as raw:
        for packet in bad:
            raw.send(Ether(src=cloud.vm1.mac, dst=ROUTER_MAC) / packet)
        assert cloud.vm1.ping(cloud.vm4.v4, ttl=1).received == 0
        errors = [Ether(f) for f in capture.frames() if ICMP in Ether(f) and Ether(f)[ICMP].type in (3, 11)]
        assert len(errors) == 1, [e.summary() for e in errors]


@pytest.mark.parametrize("address", ["10.1.1.1", "10.1.2.1", "fd00:1::1", "fd00:2::1"])
def test_the_routers_own_addresses_answer(cloud, address):
    for vm in (cloud.vm1, cloud.vm3, cloud.vm5):
        for size in (56, 1400):
            answer = vm.ping(address, count=3, size=size)
            assert answer.ok, (vm.name, answer)


def test_the_router_answers_arp_and_neighbour_solicitations(cloud):
    with cloud.vm1.capture() as capture, cloud.vm1.raw() as raw:
        raw.send(Ether(src=cloud.vm1.mac, dst=BROADCAST) / ARP(op=1, hwsrc=cloud.vm1.mac, psrc=cloud.vm1.v4,
                                                              pdst="10.1.1.1"))
        reply = Ether(capture.wait_for(lambda f: ARP in Ether(f) and Ether(f)[ARP].op == 2)[0])
        assert (reply[ARP].hwsrc, reply[ARP].psrc, reply[ARP].pdst) == (ROUTER_MAC, "10.1.1.1", cloud.vm1.v4)
        assert (reply.src, reply.dst) == (ROUTER_MAC, cloud.vm1.mac)
    cloud.vm1.run("ip", "neigh", "flush", "dev", "eth0")
    with cloud.vm1.capture() as capture:
        assert cloud.vm1.ping("fd00:1::1").ok
        advert = Ether(capture.matching(lambda f: ICMPv6ND_NA in Ether(f))[0])
        assert advert[ICMPv6ND_NA].tgt == "fd00:1::1" and advert[ICMPv6ND_NA].R == 1 and advert[ICMPv6ND_NA].S == 1
        assert advert[IPv6].hlim == 255


@pytest.mark.parametrize("sender", ["vm1", "vm3", "vm6"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_an_unknown_machine_is_found_and_the_first_packet_waits(cloud, sender, family):
    """An address nobody has told the topology about, behind a port without MAC and addresses."""
    number = {"vm1": 51, "vm3": 52, "vm6": 53}[sender]
    address = f"10.1.2.{number}" if family == "ipv4" else f"fd00:2::{number}"
    cloud.vm5.run("ip", "addr", "add", address + ("/24" if family == "ipv4" else "/64"), "dev", "eth0",
                  *(["nodad"] if family == "ipv6" else []))
    answer = getattr(cloud, sender).ping(address, count=5, interval=0.01, wait=4)
    assert answer.ok, answer


def test_an_unknown_machine_is_asked_for_on_all_hosts_once(cloud):
    with cloud.vm5.capture() as at5, cloud.vm4.capture() as at4:
        cloud.vm1.ping("10.1.2.77", wait=0.2)
        for capture in (at4, at5):
            asked = capture.wait_for(lambda f: ARP in Ether(f) and Ether(f)[ARP].pdst == "10.1.2.77")
            assert (asked[0][:6], Ether(asked[0])[ARP].psrc) == (b"\xff" * 6, "10.1.2.1")
            assert len(asked) == 1


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_machine_that_does_not_answer_is_reported(cloud, family):
    answer = cloud.vm1.ping("10.1.2.99" if family == "ipv4" else "fd00:2::99", wait=10)
    assert answer.errors == [("10.1.1.1", "host unreachable") if family == "ipv4"
                             else ("fd00:1::1", "address unreachable")], answer


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_no_route_is_said(cloud, family):
    answer = cloud.vm1.ping("203.0.113.9" if family == "ipv4" else "2001:db8::9", count=2, interval=0.2)
    assert answer.received == 0
    assert answer.errors == [("10.1.1.1", "network unreachable") if family == "ipv4" else ("fd00:1::1", "no route")] * 2
    assert cloud.h1.drops("no_route") > 0


def test_blackhole_is_silent(cloud):
    with cloud.route("hole", "203.0.113.0/24", kind="blackhole"), cloud.route("hole6", "2001:db8::/32", kind="blackhole"):
        def silent():
            answers = [cloud.vm1.ping(a, wait=0.3) for a in ("203.0.113.9", "2001:db8::9")]
            return all(a.received == 0 and not a.errors for a in answers)
        wait_until(silent, 2, "silence")
        assert cloud.h1.drops("route_blackhole") > 0


def test_reject_is_said(cloud):
    with cloud.route("no", "10.1.2.14/32", kind="reject"), cloud.route("no6", "fd00:2::14/128", kind="reject"):
        wait_until(lambda: ("10.1.1.1", "prohibited") in cloud.vm1.ping(cloud.vm4.v4, wait=0.3).errors, 2, "an ICMP error")
        wait_until(lambda: ("fd00:1::1", "prohibited") in cloud.vm1.ping(cloud.vm4.v6, wait=0.3).errors, 2,
                   "an ICMPv6 error")
        assert cloud.vm1.ping(cloud.vm6.v4).ok, "the rest of the subnet is not concerned"
        assert cloud.h1.drops("route_reject") > 0
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4) and cloud.vm1.reaches(cloud.vm4.v6), 2, "vm4 again")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_route_comes_and_goes(cloud, family):
    """Within two seconds, without a restart; also where a flow says 'no route' already."""
    address, prefix, via = {"ipv4": ("198.51.100.5", "198.51.100.0/24", cloud.vm5.v4),
                            "ipv6": ("2001:db8:5::5", "2001:db8:5::/48", cloud.vm5.v6)}[family]
    cloud.vm5.run("ip", "addr", "add", address, "dev", "lo")
    try:
        assert not cloud.vm1.reaches(address)
        with cloud.route("to-vm5", prefix, port="core-green", next_hop=via):
            wait_until(lambda: cloud.vm1.reaches(address), 2, "the route to be used")
            assert cloud.vm1.ping(address, count=20, interval=0.01).ok
        wait_until(lambda: not cloud.vm1.reaches(address), 2, "the route to be gone")
    finally:
        cloud.vm5.run("ip", "addr", "delete", address, "dev", "lo")


def test_a_longer_prefix_takes_over_and_gives_back(cloud):
    """Absence is a dependency: flows made when there was no longer prefix must go when it comes."""
    with cloud.vm1.pinger(cloud.vm4.v4) as pinger:
        wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 2)
        with cloud.route("half", "10.1.2.0/28", kind="blackhole"):
            wait_until(lambda: not cloud.vm1.reaches(cloud.vm4.v4), 2, "the longer prefix to be used")
            assert cloud.vm1.ping(cloud.vm6.v4).ok, "10.1.2.16 is outside"
        wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 2, "the connected route to be used again")
        result = pinger.stop()
    assert 0 < result.received < result.sent


def test_the_lower_metric_wins(cloud):
    address = "198.51.100.77"
    cloud.vm5.run("ip", "addr", "add", address, "dev", "lo")
    try:
        with cloud.route("worse", "198.51.100.77/32", metric=20, kind="blackhole"):
            assert not cloud.vm1.reaches(address)
            with cloud.route("better", "198.51.100.77/32", metric=10, port="core-green", next_hop=cloud.vm5.v4):
                wait_until(lambda: cloud.vm1.reaches(address), 2, "the better route")
            wait_until(lambda: not cloud.vm1.reaches(address), 2, "the worse route again")
    finally:
        cloud.vm5.run("ip", "addr", "delete", address, "dev", "lo")


def test_an_address_that_moves_to_another_mac(cloud):
    """The neighbour that answers last is the one: gratuitous ARP after a machine was replaced."""
    address = "10.1.2.60"
    cloud.vm5.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    assert cloud.vm1.ping(address, wait=4).ok
    cloud.vm5.run("ip", "link", "set", "eth0", "address", "02:00:00:00:02:77")
    try:
        with cloud.vm5.raw() as raw:
            for op in (1, 2):
                raw.send(Ether(src="02:00:00:00:02:77", dst=BROADCAST)
                         / ARP(op=op, hwsrc="02:00:00:00:02:77", psrc=address, hwdst=BROADCAST, pdst=address))
        wait_until(lambda: cloud.vm1.reaches(address), 5, "the new MAC to be learned")
    finally:
        cloud.vm5.run("ip", "link", "set", "eth0", "address", cloud.vm5.mac)
        with cloud.vm5.raw() as raw:
            for a in (address, cloud.vm5.v4):
                raw.send(Ether(src=cloud.vm5.mac, dst=BROADCAST)
                         / ARP(op=2, hwsrc=cloud.vm5.mac, psrc=a, hwdst=BROADCAST, pdst=a))
        wait_until(lambda: cloud.vm1.reaches(cloud.vm5.v4), 5, "vm5 again")


def test_arp_of_strangers_teaches_nothing(cloud):
    """A machine cannot take over another's address that the topology knows."""
    with cloud.vm5.raw() as raw, cloud.vm4.capture() as at4, cloud.vm5.capture() as at5:
        for op in (1, 2):
            raw.send(Ether(src=cloud.vm5.mac, dst="02:00:00:00:02:01")
                     / ARP(op=op, hwsrc=cloud.vm5.mac, psrc=cloud.vm4.v4, hwdst="02:00:00:00:02:01", pdst="10.1.2.1"))
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert cloud.vm1.reaches(cloud.vm4.v4, wait=2)
        token = secrets.token_bytes(16)
        with cloud.vm1.raw() as one:
            one.send(Ether(src=cloud.vm1.mac, dst=ROUTER_MAC) / IP(src=cloud.vm1.v4, dst=cloud.vm4.v4)
                     / UDP(sport=1, dport=2) / Raw(token))
        at4.wait_for(has(token))
        assert not at5.matching(has(token))


def test_solicitations_for_others_are_answered_by_the_edge(cloud):
    """The switch says where a machine is that the topology knows; the machine itself is not asked, the router keeps out."""
    with cloud.vm1.capture() as capture, cloud.vm3.capture() as at3:
        cloud.vm1.run("ip", "neigh", "flush", "dev", "eth0")
        assert cloud.vm1.ping(cloud.vm3.v4).ok and cloud.vm1.ping(cloud.vm3.v6).ok
        assert not at3.matching(lambda f: ARP in Ether(f) and Ether(f)[ARP].op == 1 and Ether(f).dst == BROADCAST
                                and Ether(f)[ARP].pdst == cloud.vm3.v4)
        replies = [Ether(f) for f in capture.frames() if ARP in Ether(f) and Ether(f)[ARP].op == 2
                   and Ether(f)[ARP].psrc == cloud.vm3.v4]
        assert replies and all(r[ARP].hwsrc == cloud.vm3.mac for r in replies)
        assert not [f for f in capture.frames() if ICMPv6ND_NS in Ether(f) and Ether(f)[IPv6].src == "fd00:1::1"]
        assert not [f for f in capture.frames() if ICMPv6EchoRequest in Ether(f)]
        assert not [f for f in capture.frames() if ICMPv6DestUnreach in Ether(f)]
