# SPDX-License-Identifier: Apache-2.0
"""What crosses the fabric: each packet once, as VXLAN, between the right hosts; floods once for each host."""
import contextlib
import secrets

import pytest

from frames import (BROADCAST, EXPERIMENT, ICMP, IP, UDP, VXLAN, Dot1Q, Ether, ICMPv6EchoRequest, IPv6, Raw, has,
                    tunnel_packets)
from netns import RawPort, wait_until


@contextlib.contextmanager
def fabric_captures(cloud):
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(host.uplink_capture()) for name, host in cloud.hosts.items()}


@pytest.mark.parametrize("target", ["vm3", "vm4"])
def test_each_packet_crosses_once(cloud, target):
    """However many virtual devices lie between: one VXLAN packet from the ingress host to the egress host."""
    vm = getattr(cloud, target)
    assert cloud.vm1.ping(vm.v4).ok and cloud.vm1.ping(vm.v6).ok
    with fabric_captures(cloud) as captures:
        assert cloud.vm1.ping(vm.v4, count=20).ok
        assert cloud.vm1.ping(vm.v6, count=20).ok
        seen4, seen6 = [], []
        for host, capture in captures.items():
            for outer, key, inner in tunnel_packets(capture.frames()):
                if ICMP in inner and inner[ICMP].type == 8:
                    seen4.append((host, outer, key, inner))
                elif ICMPv6EchoRequest in inner:
                    seen6.append((host, outer, key, inner))
    assert sorted(s[3][ICMP].seq for s in seen4) == list(range(1, 21))
    assert sorted(s[3][ICMPv6EchoRequest].seq for s in seen6) == list(range(1, 21))
    routed = target != "vm3"
    expected_key = vm.host.ports()[target]["tunnel_key"]
    for host, outer, key, inner in seen4 + seen6:
        assert host == "h1"
        assert (outer[IP].src, outer[IP].dst) == (cloud.h1.underlay, vm.host.underlay)
        assert key == expected_key, "keys are the egress host's"
        assert 0 < key < 1 << 22
        assert inner.dst == vm.mac
        assert inner.src == ("02:00:00:00:02:01" if routed else cloud.vm1.mac)
        ttl = inner[IP].ttl if IP in inner else inner[IPv6].hlim
        assert ttl == (63 if routed else 64)


def copies_to_vm5(cloud, count):
    """Which echo requests h1 sends, and to which hosts."""
    with cloud.h1.uplink_capture() as capture:
        assert cloud.vm1.ping(cloud.vm5.v4, count=count).ok
        return sorted((inner[ICMP].seq, outer[IP].dst) for outer, _, inner in tunnel_packets(capture.frames())
                      if ICMP in inner and inner[ICMP].type == 8)


def test_a_machine_without_a_known_mac_is_reached_by_flooding(cloud):
    """Nothing says behind which of green's ports vm5's MAC is: one copy for each host that has some."""
    with cloud.changed("bridge", "green", ["--learning", "false", "--wait"], ["--clear", "learning", "--wait"]):
        assert cloud.vm1.ping(cloud.vm5.v4).ok
        assert copies_to_vm5(cloud, 10) == [(n, h.underlay) for n in range(1, 11) for h in (cloud.h2, cloud.h3)]


def test_a_machine_that_has_spoken_gets_one_copy(cloud):
    """Nothing but its frames says where vm5's MAC is; all hosts have heard of it a moment later."""
    assert cloud.vm5.ping(cloud.vm4.v4, wait=4).ok
    wait_until(lambda: cloud.h3.status()["learned_macs"] > 0, 5, "vm5's MAC to be learned")
    wait_until(lambda: copies_to_vm5(cloud, 3) == [(n, cloud.h3.underlay) for n in (1, 2, 3)], 5, "one copy each")


def flood_counts(cloud, sender, frame, token):
    """How often a frame was seen by each machine and sent by each host into the fabric."""
    with contextlib.ExitStack() as stack:
        machines = {n: stack.enter_context(m.capture()) for n, m in cloud.machines.items()}
        hosts = stack.enter_context(fabric_captures(cloud))
        with sender.raw() as raw:
            raw.send(frame)
        for name in ("vm2", "vm3"):
            machines[name].wait_for(has(token), what=f"copies at {name}")
        # Whatever comes too often has left before this answer comes back.
        assert sender.ping(cloud.vm3.v4).ok
        assert cloud.vm5.ping(cloud.vm4.v4).ok
        at = {n: len(c.matching(has(token))) for n, c in machines.items()}
        sent = {}
        for name, capture in hosts.items():
            for outer, _, _ in tunnel_packets(capture.matching(has(token))):
                way = (name, outer[IP].dst)
                sent[way] = sent.get(way, 0) + 1
        return at, sent


@pytest.mark.parametrize("destination", [BROADCAST, "33:33:00:00:12:34", "01:00:5e:01:02:03", "02:aa:bb:cc:dd:ee"],
                         ids=["broadcast", "ipv6 multicast", "ipv4 multicast", "unknown"])
def test_flood_goes_once_to_each_host(cloud, destination):
    """To hosts with ports on the switch only, and there to each machine but the sender."""
    token = secrets.token_bytes(24)
    for _ in range(2):  # first by upcall, then by flow
        token = secrets.token_bytes(24)
        frame = bytes(Ether(src=cloud.vm1.mac, dst=destination, type=EXPERIMENT) / Raw(token + bytes(40)))
        at, sent = flood_counts(cloud, cloud.vm1, frame, token)
        assert at == {"vm1": 0, "vm2": 1, "vm3": 1, "vm4": 0, "vm5": 0, "vm6": 0}
        assert sent == {("h1", cloud.h2.underlay): 1}


def test_flood_on_the_other_switch(cloud):
    """Green has machines on all three hosts."""
    assert cloud.vm6.ping(cloud.vm5.v4).ok
    token = secrets.token_bytes(24)
    frame = bytes(Ether(src=cloud.vm6.mac, dst=BROADCAST, type=EXPERIMENT) / Raw(token))
    with contextlib.ExitStack() as stack:
        machines = {n: stack.enter_context(m.capture()) for n, m in cloud.machines.items()}
        hosts = stack.enter_context(fabric_captures(cloud))
        with cloud.vm6.raw() as raw:
            raw.send(frame)
        for name in ("vm4", "vm5"):
            machines[name].wait_for(has(token), what=f"copies at {name}")
        assert cloud.vm6.ping(cloud.vm5.v4).ok
        assert {n: len(c.matching(has(token))) for n, c in machines.items()} == {
            "vm1": 0, "vm2": 0, "vm3": 0, "vm4": 1, "vm5": 1, "vm6": 0}
        sent = {n: sorted(o[IP].dst for o, _, _ in tunnel_packets(c.matching(has(token)))) for n, c in hosts.items()}
        assert sent == {"h1": [cloud.h2.underlay, cloud.h3.underlay], "h2": [], "h3": []}


def from_the_fabric(cloud, source, key, inner):
    """A VXLAN packet to h1, as anybody on the fabric could send it."""
    mac = cloud.h1.namespace.run("cat", "/sys/class/net/uplink/address", check=False)
    link = cloud.h1.namespace.run("ip", "-o", "link", "show", "uplink").stdout
    mac = link.split("link/ether ")[1].split()[0]
    return (Ether(src="02:00:00:00:ff:01", dst=mac) / IP(src=source, dst=cloud.h1.underlay)
            / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(flags=8, vni=key) / inner)


def test_tunnels_of_unknown_hosts_are_refused(cloud):
    key = cloud.h1.ports()["vm1"]["tunnel_key"]
    token, token2 = secrets.token_bytes(24), secrets.token_bytes(24)

    def inner(t):
        return Ether(src=cloud.vm3.mac, dst=cloud.vm1.mac, type=EXPERIMENT) / Raw(t)
    before = cloud.h1.drops("unknown_tunnel_peer")
    with cloud.vm1.capture() as capture, RawPort(cloud.fabric, "to-h1") as wire:
        for _ in range(3):
            wire.send(from_the_fabric(cloud, "192.0.2.99", key, inner(token)))
        wait_until(lambda: cloud.h1.drops("unknown_tunnel_peer") >= before + 3, 5, "three drops to be counted")
        # The same from a host that is known does arrive: the test can tell.
        wire.send(from_the_fabric(cloud, cloud.h2.underlay, key, inner(token2)))
        capture.wait_for(has(token2))
        assert not capture.matching(has(token))


def test_unknown_tunnel_keys_are_dropped_with_a_reason(cloud):
    before = cloud.h1.drops("stale_key")
    inner = Ether(src=cloud.vm3.mac, dst=cloud.vm1.mac, type=EXPERIMENT) / Raw(b"nobody's key")
    with RawPort(cloud.fabric, "to-h1") as wire:
        wire.send(from_the_fabric(cloud, cloud.h2.underlay, 3_999_999, inner))
        wait_until(lambda: cloud.h1.drops("stale_key") > before, 5, "the drop to be counted")


def test_malformed_tunnel_packets_do_no_harm(cloud):
    pid = cloud.h1.agent.pid
    key = cloud.h1.ports()["vm1"]["tunnel_key"]
    with RawPort(cloud.fabric, "to-h1") as wire:
        whole = bytes(from_the_fabric(cloud, cloud.h2.underlay, key,
                                      Ether(src=cloud.vm3.mac, dst=cloud.vm1.mac) / IP(src=cloud.vm3.v4, dst=cloud.vm1.v4)
                                      / UDP() / Raw(bytes(100))))
        for length in range(14, len(whole)):
            wire.send(whole[:length])
    assert cloud.vm3.ping(cloud.vm1.v4, count=3).ok
    assert cloud.h1.agent.alive() and cloud.h1.agent.pid == pid


@pytest.mark.parametrize("tags", [1, 2])
def test_vlan_tags_pass_a_switch(cloud, tags):
    """A switch carries tagged frames as they are; the tag is the machines' business."""
    for vm in (cloud.vm2, cloud.vm3):
        for _ in range(2):
            token = secrets.token_bytes(24)
            frame = Ether(src=cloud.vm1.mac, dst=vm.mac) / Dot1Q(vlan=12, prio=3, type=EXPERIMENT)
            if tags == 2:
                frame = Ether(src=cloud.vm1.mac, dst=vm.mac, type=0x88A8) / Dot1Q(vlan=100, type=0x8100) / Dot1Q(
                    vlan=12, prio=3, type=EXPERIMENT)
            frame = bytes(frame / Raw(token))
            with vm.capture() as capture, cloud.vm1.raw() as raw:
                raw.send(frame)
                assert capture.wait_for(has(token)) == [frame], vm.name


def test_vlan_tags_end_at_a_router(cloud):
    before = cloud.h1.drops("vlan_at_router")
    frame = (Ether(src=cloud.vm1.mac, dst="02:00:00:00:01:01") / Dot1Q(vlan=12)
             / IP(src=cloud.vm1.v4, dst=cloud.vm4.v4) / UDP(sport=1, dport=2) / Raw(b"x" * 30))
    with cloud.vm1.raw() as raw:
        raw.send(frame)
    wait_until(lambda: cloud.h1.drops("vlan_at_router") > before, 5, "the drop to be counted")


def test_ip_fragmentation_is_left_to_the_machines(cloud):
    """The outer packet of a full-size frame is one packet, and the fabric sees no outer fragments of large pings."""
    with fabric_captures(cloud) as captures:
        assert cloud.vm1.ping(cloud.vm4.v4, count=3, size=3000).ok
        for capture in captures.values():
            for outer in map(Ether, capture.frames()):
                if IP in outer:
                    assert outer[IP].frag == 0 and not outer[IP].flags.MF
                    assert outer[IP].proto == 17
