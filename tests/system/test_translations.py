# SPDX-License-Identifier: Apache-2.0
"""Floating addresses, shared addresses and load balancers on real packets, with changes and restarts in between."""
import contextlib
import errno
import pathlib
import select
import signal
import socket

import pytest

from netns import wait_until
from test_connections import speaks
from test_filters import connects, says, server

_EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "quickstart" / "outside.yaml"
OUTSIDE = {"v4": "203.0.113.254", "v6": "2001:db8:9::fe"}
SHARED = {"v4": "203.0.113.100", "v6": "2001:db8:9::100"}
FLOATING = {"v4": "203.0.113.14", "v6": "2001:db8:9::14"}   # of vm4
BALANCED = {"v4": "203.0.113.80", "v6": "2001:db8:9::80"}   # vm1, vm3, vm5, their port 8080
FAMILIES = pytest.mark.parametrize("family", ["v4", "v6"])


@pytest.fixture(name="outside")
def _outside(cloud):
    """A machine behind the uplink of h1, and the quickstart's translations."""
    if "outside" not in cloud.machines:
        cloud.add_machine("outside", "h1", "02:00:00:00:09:fe", [OUTSIDE["v4"] + "/24", OUTSIDE["v6"] + "/64"])
        cloud.apply(_EXAMPLE.read_text())
        cloud.wait_ports()
        # The router's port has said who it is, and hosts have their first ports of the shared address.
        wait_until(lambda: cloud.vm1.reaches(OUTSIDE["v4"]) and cloud.vm3.reaches(OUTSIDE["v6"]), 10, "a way out")
    return cloud.outside


def stream(machine, family):
    return machine.namespace.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET, socket.SOCK_STREAM)


@FAMILIES
def test_a_floating_address_is_the_machine(cloud, outside, family):
    own, inside = FLOATING[family], getattr(cloud.vm4, family)
    with server(cloud.vm4, inside, 80), server(cloud.vm4, inside, 53, socket.SOCK_DGRAM) as names, \
            server(outside, OUTSIDE[family], 80) as listener:
        assert connects(outside, own, 80, wait=2) is None
        assert connects(outside, own, 81) == errno.ECONNREFUSED
        assert says(outside, own, 53, names)
        assert outside.ping(own, count=2).ok
        # From inside it is its source, whoever else shares one.
        assert connects(cloud.vm4, OUTSIDE[family], 80) is None
        listener.settimeout(2)
        served, source = listener.accept()
        served.close()
        assert source[0] == own
        # And reached by its neighbours.
        assert connects(cloud.vm1, own, 80) is None


def test_a_floating_address_moves_to_another_machine(cloud, outside):
    with server(cloud.vm4, cloud.vm4.v4, 80), server(cloud.vm2, cloud.vm2.v4, 81):
        assert connects(outside, FLOATING["v4"], 80, wait=2) is None
        with cloud.changed("floating-ip", "vm4-v4", ["--inside", cloud.vm2.v4, "--wait"],
                           ["--inside", cloud.vm4.v4, "--wait"]):
            assert connects(outside, FLOATING["v4"], 81) is None
            assert connects(outside, FLOATING["v4"], 80) == errno.ECONNREFUSED
        assert connects(outside, FLOATING["v4"], 80) is None


@FAMILIES
def test_errors_come_back_through_a_shared_address(cloud, outside, family):
    with cloud.vm1.namespace.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((OUTSIDE[family], 4000))
        client.send(b"anybody there?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(16)
    assert cloud.vm1.ping(OUTSIDE[family], count=2).ok


@FAMILIES
def test_a_balancer_spreads_and_leaves_out_who_is_down(cloud, outside, family):
    members = [cloud.vm1, cloud.vm3, cloud.vm5]
    with contextlib.ExitStack() as stack:
        listeners = {stack.enter_context(server(m, getattr(m, family), 8080)): m.name for m in members}

        def answered(times):
            names = []
            for _ in range(times):
                with stream(outside, family) as client:
                    client.settimeout(3)
                    client.connect((BALANCED[family], 80))
                    ready = select.select(list(listeners), [], [], 3)[0]
                    assert len(ready) == 1
                    ready[0].accept()[0].close()
                    names.append(listeners[ready[0]])
            return names
        assert set(answered(40)) == {m.name for m in members}
        member = f"vm3-web{family[1]}"
        with cloud.changed("pool-member", member, ["--admin-up", "false", "--wait"], ["--admin-up", "true", "--wait"]):
            assert set(answered(20)) == {"vm1", "vm5"}
        assert "vm3" in answered(40)
        # One of the members asks for its own service.
        with stream(cloud.vm1, family) as client:
            client.settimeout(3)
            client.connect((BALANCED[family], 80))
        vip = f"web{family[1]}"
        with cloud.changed("vip", vip, ["--admin-up", "false", "--wait"], ["--admin-up", "true", "--wait"]):
            assert connects(outside, BALANCED[family], 80) == errno.ECONNREFUSED


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
@pytest.mark.parametrize("host", ["h1", "h2"])
def test_translated_connections_outlive_agents(cloud, outside, host, how):
    """A machine's by a shared address and one to a balancer's member, while one end's agent is away and after it is back."""
    agent = getattr(cloud, host)
    with server(outside, OUTSIDE["v4"], 80) as listener, stream(cloud.vm3, "v4") as client, \
            server(cloud.vm3, cloud.vm3.v4, 8080) as web, stream(outside, "v4") as reader:
        with cloud.changed("pool-member", "vm1-web4", ["--admin-up", "false"], ["--admin-up", "true"]), \
                cloud.changed("pool-member", "vm5-web4", ["--admin-up", "false", "--wait"], ["--admin-up", "true"]):
            ends = []
            for waiting, caller, target in ((listener, client, OUTSIDE["v4"]), (web, reader, BALANCED["v4"])):
                waiting.settimeout(5)
                caller.settimeout(5)
                caller.connect((target, 80))
                served, _ = waiting.accept()
                served.settimeout(5)
                ends.append((caller, served))
        with contextlib.ExitStack() as stack:
            for _, served in ends:
                stack.enter_context(served)

            def all_speak(words):
                for caller, served in ends:
                    speaks(caller, served, words)
                    speaks(served, caller, words)
            all_speak(b"before")
            agent.stop_agent(how)
            all_speak(b"without")
            agent.start_agent()
            all_speak(b"after")
            # New ones, too: it has kept its ports.
            assert connects(cloud.vm3, OUTSIDE["v4"], 80, wait=3) is None
