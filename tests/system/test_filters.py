# SPDX-License-Identifier: Apache-2.0
"""Chains, security groups and port security on real packets: TCP, UDP and ICMP between machines, with changes in between."""
import contextlib
import errno
import secrets
import select
import socket

import pytest

from frames import ARP, BROADCAST, IP, UDP, Ether, Raw
from netns import wait_until


@contextlib.contextmanager
def server(machine, address, port, kind=socket.SOCK_STREAM):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with machine.namespace.socket(family, kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with machine.namespace.entered():
            listener.bind((address, port))
        if kind == socket.SOCK_STREAM:
            listener.listen(8)
        yield listener


def connects(machine, address, port, wait=0.7):
    """None when the connection is made; else the error number, or "silence"."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with machine.namespace.socket(family, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        if client.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
            return "refused at once"
        if not select.select([], [client], [], wait)[1]:
            return "silence"
        return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or None


def says(machine, address, port, listener, wait=0.7):
    """Whether a datagram arrives."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    word = secrets.token_bytes(16)
    with machine.namespace.socket(family, socket.SOCK_DGRAM) as client:
        client.sendto(word, (address, port))
        return bool(select.select([listener], [], [], wait)[0]) and listener.recv(64) == word


@pytest.fixture(name="chain")
def _chain(cloud):
    """An empty chain that packets to vm4 pass (another host, another subnet)."""
    cloud.cli("chain", "create", "--name", "door")
    cloud.cli("port", "update", "vm4", "--out-chain", "door", "--wait")
    yield lambda *fields: cloud.cli("rule", "create", "--chain", "door", *fields, "--wait")
    cloud.cli("port", "update", "vm4", "--clear", "out_chain", "--wait")
    cloud.cli("chain", "delete", "door")


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_rules_decide_about_tcp_and_udp(cloud, chain, family):
    target = getattr(cloud.vm4, family)
    with server(cloud.vm4, target, 80), server(cloud.vm4, target, 443), \
            server(cloud.vm4, target, 53, socket.SOCK_DGRAM) as names:
        assert connects(cloud.vm1, target, 80) is None and connects(cloud.vm1, target, 443) is None
        assert says(cloud.vm1, target, 53, names)
        chain("--name", "no-web", "--position", "20", "--action", "drop", "--protocol", "tcp", "--destination-ports", "80")
        chain("--name", "no-names", "--position", "30", "--action", "drop", "--protocol", "udp", "--destination-ports", "53")
        assert connects(cloud.vm1, target, 80) == "silence"
        assert connects(cloud.vm1, target, 443) is None
        assert not says(cloud.vm1, target, 53, names)
        # A rule in front of them, for one machine.
        chain("--name", "friend", "--position", "10", "--action", "accept", "--source",
              getattr(cloud.vm1, family) + ("/32" if family == "v4" else "/128"))
        assert connects(cloud.vm1, target, 80) is None and says(cloud.vm1, target, 53, names)
        assert connects(cloud.vm3, target, 80) == "silence"
        cloud.cli("rule", "delete", "friend", "--wait")
        assert connects(cloud.vm1, target, 80) == "silence"


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_rejected_sender_is_told(cloud, chain, family):
    target = getattr(cloud.vm4, family)
    with server(cloud.vm4, target, 80):
        chain("--name", "no-web", "--position", "20", "--action", "reject", "--protocol", "tcp", "--destination-ports", "80")
        assert connects(cloud.vm1, target, 80) == errno.ECONNREFUSED
    chain("--name", "no-pings", "--position", "30", "--action", "reject", "--protocol",
          "icmp" if family == "v4" else "icmpv6")
    answer = cloud.vm1.ping(target, wait=1)
    assert answer.received == 0 and answer.errors, answer


def test_a_connection_that_lives_is_cut_by_a_rule(cloud, chain):
    """The kernel's flow is of no use any more the moment the rule is there."""
    with server(cloud.vm4, cloud.vm4.v4, 80) as listener, \
            cloud.vm1.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect((cloud.vm4.v4, 80))
        served, _ = listener.accept()
        with served:
            client.sendall(b"before")
            served.settimeout(2)
            assert served.recv(16) == b"before"
            chain("--name", "no-web", "--position", "10", "--action", "drop", "--protocol", "tcp")
            client.sendall(b"after")
            assert not select.select([served], [], [], 0.7)[0]
            cloud.cli("rule", "delete", "no-web", "--wait")
            served.settimeout(5)   # TCP tries again
            assert served.recv(16) == b"after"


def test_an_agent_that_restarts_filters_as_before(cloud, chain):
    chain("--name", "no-web", "--position", "10", "--action", "drop", "--protocol", "tcp")
    with server(cloud.vm4, cloud.vm4.v4, 80):
        assert connects(cloud.vm1, cloud.vm4.v4, 80) == "silence"
        cloud.h1.stop_agent()
        assert connects(cloud.vm1, cloud.vm4.v4, 80) == "silence"
        cloud.h1.start_agent()
        assert connects(cloud.vm1, cloud.vm4.v4, 80) == "silence"
        assert cloud.vm1.reaches(cloud.vm4.v4)


@pytest.fixture(name="groups")
def _groups(cloud):
    for group in ("web", "clients"):
        cloud.cli("security-group", "create", "--name", group, "--stateful", "false")
    yield
    for vm in ("vm1", "vm3", "vm4"):
        cloud.cli("port", "update", vm, "--clear", "security_groups,port_security,allowed_pairs", "--wait")
    for group in ("web", "clients"):
        cloud.cli("security-group", "delete", group)


def allow(cloud, group, direction, *fields):
    cloud.cli("security-rule", "create", "--security-group", group, "--direction", direction, *fields)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_who_is_in_a_group_gets_what_its_rules_allow(cloud, groups, family):
    target = getattr(cloud.vm4, family)
    # Stateless: the way back is said as well.
    allow(cloud, "web", "ingress", "--protocol", "tcp", "--ports", "80", "--remote-group", "clients")
    allow(cloud, "web", "egress", "--protocol", "tcp", "--remote-group", "clients")
    with server(cloud.vm4, target, 80), server(cloud.vm4, target, 81):
        cloud.cli("port", "update", "vm4", "--security-groups", "web", "--wait")
        assert connects(cloud.vm1, target, 80) == "silence", "nobody is a client yet"
        allow(cloud, "clients", "egress")
        allow(cloud, "clients", "ingress")
        cloud.cli("port", "update", "vm1", "--security-groups", "clients", "--wait")
        assert connects(cloud.vm1, target, 80) is None
        assert connects(cloud.vm1, target, 81) == "silence"
        assert connects(cloud.vm3, target, 80) == "silence"
        assert not cloud.vm1.reaches(target)
        cloud.cli("port", "update", "vm3", "--security-groups", "clients", "--wait")
        assert connects(cloud.vm3, target, 80) is None
        cloud.cli("port", "update", "vm1", "--clear", "security_groups", "--wait")
        assert connects(cloud.vm1, target, 80) == "silence"
        assert connects(cloud.vm3, target, 80) is None


def test_a_machine_with_port_security_is_who_it_says(cloud, groups):
    cloud.cli("port", "update", "vm1", "--port-security", "true", "--wait")
    assert cloud.vm1.reaches(cloud.vm3.v4, wait=2) and cloud.vm1.reaches(cloud.vm4.v6, wait=2)
    before = cloud.h1.drops("spoofed_source")
    token = secrets.token_bytes(16)
    with cloud.vm3.capture() as capture, cloud.vm1.raw() as raw:
        spoofed = [
            Ether(src="02:00:00:00:99:99", dst=BROADCAST) / IP(src=cloud.vm1.v4, dst="10.1.1.255") / UDP(dport=9) / Raw(token),
            Ether(src=cloud.vm1.mac, dst=BROADCAST) / IP(src="10.1.1.77", dst="10.1.1.255") / UDP(dport=9) / Raw(token),
            Ether(src=cloud.vm1.mac, dst=BROADCAST) / ARP(op=1, hwsrc=cloud.vm1.mac, psrc="10.1.1.1", pdst="10.1.1.1"),
        ]
        for frame in spoofed:
            raw.send(frame)
        wait_until(lambda: cloud.h1.drops("spoofed_source") >= before + len(spoofed), 5, "three spoofed frames dropped")
        cloud.cli("port", "update", "vm1", "--allowed-pairs", "10.1.1.77/32", "--wait")
        raw.send(spoofed[1])
        capture.wait_for(lambda f: token in f, what="the allowed one")
        seen = [f for f in capture.frames() if token in f or (ARP in Ether(f) and Ether(f)[ARP].psrc == "10.1.1.1"
                                                             and Ether(f)[ARP].hwsrc == cloud.vm1.mac)]
        assert len(seen) == 1
