# SPDX-License-Identifier: Apache-2.0
"""Source translation by blocks of ports: hosts grow into an address as they need, and share it."""
import contextlib
import select
import socket
import threading

import pytest

from netns import wait_until
from test_filters import server

POOL = {"v4": "10.1.2.80", "v6": "fd00:2::80"}


@pytest.fixture(name="shared")
def _shared(cloud):
    """Whatever leaves the router to green does so from one address of each family."""
    cloud.cli("chain", "create", "--name", "leaving")
    for family, ethertype in (("v4", "ipv4"), ("v6", "ipv6")):
        cloud.cli("snat-pool", "create", "--name", f"shared-{family}", "--router", "core", "--addresses", POOL[family])
        cloud.cli("rule", "create", "--chain", "leaving", "--action", "snat", "--ethertype", ethertype, "--position",
                  "10" if family == "v4" else "20", "--out-port", "core-green", "--snat-pool", f"shared-{family}")
    cloud.cli("router", "update", "core", "--out-chain", "leaving", "--wait")
    wait_until(lambda: all(blocks(h, f) for h in (cloud.h1, cloud.h2) for f in POOL), 10, "first blocks of ports")
    yield
    cloud.cli("router", "update", "core", "--clear", "out_chain", "--wait")
    cloud.cli("chain", "delete", "leaving")
    for family in POOL:
        cloud.cli("snat-pool", "delete", f"shared-{family}")


def blocks(host, family):
    """How many ports this host has, by the status of its agent."""
    pools = [p for p in host.status().get("snat_pools", []) if p["pool"] == f"shared-{family}"]
    ranges = [block.split()[1].split("-") for pool in pools for block in pool["blocks"]]
    return sum(int(last) - int(first) + 1 for first, last in ranges)


class Accepting:
    """Accepts and holds whatever comes; whom it saw."""

    def __init__(self, listener):
        self.listener, self.held, self.stop = listener, [], False
        listener.listen(512)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.stop:
            if select.select([self.listener], [], [], 0.05)[0]:
                self.held.append(self.listener.accept())

    @property
    def peers(self):
        return [(peer[0], peer[1]) for _, peer in self.held]

    def end(self):
        self.stop = True
        self.thread.join()
        for connection, _ in self.held:
            connection.close()


@contextlib.contextmanager
def accepting(machine, address, port):
    with server(machine, address, port) as listener:
        accepts = Accepting(listener)
        try:
            yield accepts
        finally:
            accepts.end()


def open_many(stack, machine, address, port, count):
    """So many connections begun at once, not waited for."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    clients = []
    for _ in range(count):
        client = stack.enter_context(machine.namespace.socket(family, socket.SOCK_STREAM))
        client.setblocking(False)
        client.connect_ex((address, port))
        clients.append(client)
    return clients


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_machine_has_more_connections_to_one_end_than_a_first_block_has_ports(cloud, shared, family):
    target = getattr(cloud.vm4, family)
    with contextlib.ExitStack() as stack:
        accepts = stack.enter_context(accepting(cloud.vm4, target, 80))
        clients = open_many(stack, cloud.vm1, target, 80, 200)
        # Those that came while all ports were taken come again: TCP does after one and three seconds.
        wait_until(lambda: len(accepts.peers) == 200, 12, "200 connections")
        assert all(c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for c in clients)
        assert {address for address, _ in accepts.peers} == {POOL[family]}
        assert len(set(accepts.peers)) == 200, "each has a port of its own"
        clients[199].sendall(b"the last one")
        wait_until(lambda: any(select.select([c], [], [], 0)[0] for c, _ in accepts.held), 3, "its words")
        assert blocks(cloud.h1, family) >= 200


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_two_hosts_share_an_address_and_never_a_port(cloud, shared, family):
    target = getattr(cloud.vm4, family)
    with contextlib.ExitStack() as stack:
        accepts = stack.enter_context(accepting(cloud.vm4, target, 80))
        open_many(stack, cloud.vm1, target, 80, 90)
        open_many(stack, cloud.vm3, target, 80, 90)
        wait_until(lambda: len(accepts.peers) == 180, 12, "90 connections from each of two hosts")
        assert {address for address, _ in accepts.peers} == {POOL[family]}
        assert len(set(accepts.peers)) == 180
