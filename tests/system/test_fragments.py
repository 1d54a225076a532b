# SPDX-License-Identifier: Apache-2.0
"""Datagrams larger than the MTU, cut by the kernel, through groups, a shared address and a balancer."""
import select
import socket

import pytest

from frames import IP, UDP, Ether, IPv6, IPv6ExtHdrFragment, Raw
from test_filters import server
from test_router import ROUTER_MAC
from test_translations import BALANCED, FAMILIES, OUTSIDE, SHARED, _outside  # noqa: F401  pylint: disable=unused-import

SIZES = (2000, 4000, 8000)


def datagrams(machine, family):
    kind = socket.AF_INET6 if family == "v6" else socket.AF_INET
    return machine.namespace.socket(kind, socket.SOCK_DGRAM)


def heard(waiting, wait=3):
    assert select.select([waiting], [], [], wait)[0], "nothing came"
    return waiting.recvfrom(1 << 16)


def talks(client, target, service, size):
    """A question and an answer of so many bytes; where the question came from."""
    client.sendto(b"q" * size, target)
    words, source = heard(service)
    assert words == b"q" * size
    service.sendto(b"a" * size, source)
    words, answering = heard(client)
    assert words == b"a" * size and answering[:2] == target
    return source[0]


@FAMILIES
@pytest.mark.parametrize("size", SIZES)
def test_by_a_shared_address_and_back(cloud, outside, family, size):
    with server(outside, OUTSIDE[family], 53, socket.SOCK_DGRAM) as service, datagrams(cloud.vm3, family) as client:
        assert talks(client, (OUTSIDE[family], 53), service, size) == SHARED[family]


@FAMILIES
def test_to_a_member_and_back(cloud, outside, family):
    vip = f"names{family[1]}"
    cloud.cli("vip", "create", "--name", vip, "--load-balancer", "front", "--address", BALANCED[family], "--protocol", "udp",
              "--port", "53", "--pool", f"web{family[1]}", "--wait")
    members = [cloud.vm1, cloud.vm3, cloud.vm5]
    try:
        with server(members[0], getattr(members[0], family), 8080, socket.SOCK_DGRAM) as one, \
                server(members[1], getattr(members[1], family), 8080, socket.SOCK_DGRAM) as two, \
                server(members[2], getattr(members[2], family), 8080, socket.SOCK_DGRAM) as three, \
                datagrams(outside, family) as client:
            for size in SIZES:
                client.sendto(b"q" * size, (BALANCED[family], 53))
                ready = select.select([one, two, three], [], [], 3)[0]
                assert len(ready) == 1
                words, source = ready[0].recvfrom(1 << 16)
                assert words == b"q" * size
                ready[0].sendto(b"a" * size, source)
                words, answering = heard(client)
                assert words == b"a" * size and answering[:2] == (BALANCED[family], 53)
    finally:
        cloud.cli("vip", "delete", vip)


@FAMILIES
def test_as_answers_into_a_stateful_group(cloud, outside, family):
    """vm6 may ask anybody; nobody may ask it."""
    cloud.cli("security-group", "create", "--name", "asks")
    cloud.cli("security-rule", "create", "--security-group", "asks", "--direction", "egress", "--protocol", "udp", "--ports", "53")
    cloud.cli("port", "update", "vm6", "--security-groups", "asks", "--wait")
    try:
        target = getattr(cloud.vm3, family)
        with server(cloud.vm3, target, 53, socket.SOCK_DGRAM) as service, datagrams(cloud.vm6, family) as client:
            for size in SIZES:
                talks(client, (target, 53), service, size)
            own = getattr(cloud.vm6, family)
            with server(cloud.vm6, own, 54, socket.SOCK_DGRAM) as closed:
                service.sendto(b"x" * 4000, (own, 54))
                assert not select.select([closed], [], [], 0.7)[0]
    finally:
        cloud.cli("port", "update", "vm6", "--clear", "security_groups", "--wait")
        cloud.cli("security-group", "delete", "asks")


def pieces(machine, target, family, payload, size, number):
    """A datagram from port 4000 to 53, in frames to the router of so many bytes of UDP each."""
    ip = (IP if family == "v4" else IPv6)(src=getattr(machine, family), dst=target)
    whole = bytes(ip / UDP(sport=4000, dport=53) / Raw(payload))[20 if family == "v4" else 40:]
    frames = []
    for at in range(0, len(whole), size):
        more, part = at + size < len(whole), Raw(whole[at:at + size])
        if family == "v4":
            packet = IP(src=machine.v4, dst=target, id=number, proto=17, flags="MF" if more else 0, frag=at // 8) / part
        else:
            packet = IPv6(src=machine.v6, dst=target, nh=44) / IPv6ExtHdrFragment(nh=17, offset=at // 8, m=more, id=number) / part
        frames.append(Ether(src=machine.mac, dst=ROUTER_MAC) / packet)
    return frames


@FAMILIES
def test_in_whatever_order(cloud, outside, family):
    with server(outside, OUTSIDE[family], 53, socket.SOCK_DGRAM) as service, cloud.vm3.raw() as raw:
        for number, order in enumerate([(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)], 77):
            payload = bytes([number]) * 3000
            frames = pieces(cloud.vm3, OUTSIDE[family], family, payload, 1200, number)
            for n in order:
                raw.send(frames[n])
            words, source = heard(service)
            assert words == payload and source[0] == SHARED[family], order
