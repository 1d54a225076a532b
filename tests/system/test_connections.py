# SPDX-License-Identifier: Apache-2.0
"""Stateful security groups on real packets: answers pass, nothing else does, and what is open outlives agents."""
import contextlib
import select
import signal
import socket

import pytest

from netns import wait_until
from test_filters import allow, connects, says, server


@pytest.fixture(name="web")
def _web(cloud):
    """vm4 (another host, another subnet) lets in TCP 80, UDP 53 and pings, and may begin nothing."""
    cloud.cli("security-group", "create", "--name", "web")
    cloud.cli("security-rule", "create", "--name", "http", "--security-group", "web", "--direction", "ingress",
              "--protocol", "tcp", "--ports", "80")
    allow(cloud, "web", "ingress", "--protocol", "udp", "--ports", "53")
    for protocol in ("icmp", "icmpv6"):
        allow(cloud, "web", "ingress", "--protocol", protocol)
    cloud.cli("port", "update", "vm4", "--security-groups", "web", "--wait")
    yield cloud.vm4
    cloud.cli("port", "update", "vm4", "--clear", "security_groups", "--wait")
    cloud.cli("security-group", "delete", "web")


@contextlib.contextmanager
def conversation(cloud, family):
    """An open TCP connection from vm1 to vm4, which has said something both ways."""
    target = getattr(cloud.vm4, family)
    kind = socket.AF_INET6 if family == "v6" else socket.AF_INET
    with server(cloud.vm4, target, 80) as listener, cloud.vm1.namespace.socket(kind, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect((target, 80))
        listener.settimeout(5)
        served, _ = listener.accept()
        with served:
            served.settimeout(5)
            speaks(client, served, b"hello")
            speaks(served, client, b"welcome")
            yield client, served


def speaks(sender, receiver, words):
    sender.sendall(words)
    heard = b""
    while len(heard) < len(words):
        heard += receiver.recv(1024)
    assert heard == words


def is_silent(receiver, wait=0.7):
    return not select.select([receiver], [], [], wait)[0]


def known(host, port=80):
    return [c for c in host.cloud.json("connections", "--host", host.name)["connections"]
            if c["tuple"].startswith("tcp ") and c["tuple"].endswith(f":{port}")]


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_answers_pass_and_nothing_else(cloud, web, family):
    target, other = getattr(web, family), getattr(cloud.vm1, family)
    with server(web, target, 80), server(web, target, 81), server(web, target, 53, socket.SOCK_DGRAM) as names, \
            server(cloud.vm1, other, 80), server(cloud.vm1, other, 53, socket.SOCK_DGRAM) as outside:
        assert connects(cloud.vm1, target, 80, wait=2) is None
        assert connects(cloud.vm1, target, 81) == "silence"
        assert cloud.vm1.ping(target, count=3).ok
        # The other direction.
        assert connects(web, other, 80) == "silence"
        assert not says(web, other, 53, outside)
        assert not web.reaches(other)
        # A datagram is answered from the port that it went to, and from no other.
        kind = socket.AF_INET6 if family == "v6" else socket.AF_INET
        with cloud.vm1.namespace.socket(kind, socket.SOCK_DGRAM) as client:
            client.sendto(b"who?", (target, 53))
            assert select.select([names], [], [], 2)[0]
            words, source = names.recvfrom(64)
            assert words == b"who?"
            names.sendto(b"me", source)
            assert select.select([client], [], [], 2)[0] and client.recv(64) == b"me"
            with web.namespace.socket(kind, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"not me", source[:2])
            assert is_silent(client)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_the_end_of_a_rule_ends_what_it_let_in(cloud, web, family):
    with conversation(cloud, family) as (client, served):
        cloud.cli("security-rule", "delete", "http", "--wait")
        client.sendall(b"after")
        assert is_silent(served)
        served.sendall(b"after")
        assert is_silent(client)
        cloud.cli("security-rule", "create", "--name", "http", "--security-group", "web", "--direction", "ingress",
                  "--protocol", "tcp", "--ports", "80", "--wait")
        served.settimeout(10)   # TCP tries again
        client.settimeout(10)
        assert served.recv(16) == b"after" and client.recv(16) == b"after"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
@pytest.mark.parametrize("host", ["h1", "h2"])
def test_an_open_connection_outlives_an_agent(cloud, web, host, how):
    agent = getattr(cloud, host)
    with conversation(cloud, "v4") as (client, served):
        wait_until(lambda: known(cloud.h1) and known(cloud.h2), 5, "both hosts to know the connection")
        agent.stop_agent(how)
        try:
            speaks(client, served, b"meanwhile")
            speaks(served, client, b"still here")
        finally:
            agent.start_agent()
        assert known(agent), "from the disk"
        speaks(client, served, b"afterwards")
        speaks(served, client, b"as before")
        assert connects(web, cloud.vm1.v4, 22) == "silence"


def test_an_answer_before_the_question_is_refused(cloud, web):
    """Wrong order: the server answers what nobody has asked, then is asked."""
    with server(web, web.v4, 53, socket.SOCK_DGRAM) as names, \
            server(cloud.vm1, cloud.vm1.v4, 5300, socket.SOCK_DGRAM) as client:
        names.sendto(b"too soon", (cloud.vm1.v4, 5300))
        assert is_silent(client)
        client.sendto(b"who?", (web.v4, 53))
        assert select.select([names], [], [], 2)[0] and names.recv(64) == b"who?"
        names.sendto(b"me", (cloud.vm1.v4, 5300))
        assert select.select([client], [], [], 2)[0] and client.recv(64) == b"me"


def test_a_host_whose_agent_does_not_answer_delays_but_does_not_stop(cloud, web):
    cloud.h2.stop_agent()
    try:
        with server(web, web.v4, 53, socket.SOCK_DGRAM) as names:
            assert says(cloud.vm1, web.v4, 53, names)
        assert cloud.h1.status()["counters"]["connections_told"] > 0
    finally:
        cloud.h2.start_agent()
