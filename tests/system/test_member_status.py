# SPDX-License-Identifier: Apache-2.0
"""The status of a load balancer's members changes while clients connect."""
import contextlib
import select
import socket

import pytest

from test_filters import server

VIRTUAL = {"v4": "10.1.1.80", "v6": "fd00:1::80"}


@pytest.fixture(name="web", params=["v4", "v6"])
def _web(cloud, request):
    """A virtual address at the router, served by vm4 (h2) and vm6 (h1); clients are on the other side."""
    family = request.param
    cloud.cli("load-balancer", "create", "--name", "web", "--router", "core")
    cloud.cli("pool", "create", "--name", "web", "--load-balancer", "web")
    for machine in (cloud.vm4, cloud.vm6):
        cloud.cli("pool-member", "create", "--name", machine.name, "--pool", "web", "--address", getattr(machine, family))
    cloud.cli("vip", "create", "--name", "http", "--load-balancer", "web", "--address", VIRTUAL[family], "--protocol",
              "tcp", "--port", "80", "--pool", "web", "--wait")
    yield family
    cloud.cli("vip", "delete", "http")
    cloud.cli("load-balancer", "delete", "web", "--wait")


def connect(stack, cloud, family, listeners):
    """A new connection to the virtual address: the client, the served end, and the name of who serves; nothing: refused."""
    kind = socket.AF_INET6 if family == "v6" else socket.AF_INET
    client = stack.enter_context(cloud.vm1.namespace.socket(kind, socket.SOCK_STREAM))
    client.settimeout(5)
    try:
        client.connect((VIRTUAL[family], 80))
    except ConnectionRefusedError:
        return None
    ready = select.select(list(listeners), [], [], 5)[0]
    assert len(ready) == 1
    served, _ = ready[0].accept()
    stack.enter_context(served)
    served.settimeout(5)
    return client, served, listeners[ready[0]]


def speaks(connection):
    client, served, _ = connection
    client.sendall(b"still?")
    assert served.recv(16) == b"still?"
    served.sendall(b"here")
    assert client.recv(16) == b"here"


def test_new_connections_go_to_members_that_are_up_and_old_ones_stay(cloud, web):
    with contextlib.ExitStack() as stack:
        listeners = {stack.enter_context(server(m, getattr(m, web), 80)): m.name for m in (cloud.vm4, cloud.vm6)}

        def some(count=12):
            return [connect(stack, cloud, web, listeners) for _ in range(count)]

        before = some(24)
        assert {c[2] for c in before} == {"vm4", "vm6"}
        cloud.cli("pool-member", "update", "vm4", "--status", "down", "--wait")
        assert {m["name"]: m.get("status") for m in cloud.items("pool-member")} == {"vm4": "down", "vm6": None}
        assert {c[2] for c in some()} == {"vm6"}
        for connection in before:
            speaks(connection)
        cloud.cli("pool-member", "update", "vm6", "--status", "down", "--wait")
        assert some(3) == [None] * 3, "nobody serves"
        for connection in before:
            speaks(connection)
        cloud.cli("pool-member", "update", "vm4", "--status", "up", "--wait")
        assert {c[2] for c in some()} == {"vm4"}
        cloud.cli("pool-member", "update", "vm6", "--clear", "status", "--wait")
        assert {c[2] for c in some(24)} == {"vm4", "vm6"}
