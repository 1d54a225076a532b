# SPDX-License-Identifier: Apache-2.0
"""Static stability: the store or an agent is away for a while, and packets do not notice. 1,000 packets a second flow."""
import contextlib
import signal
import time

import pytest

from netns import wait_until
from stream import Stream


def paths(cloud):
    """Who sends to whom: the same bridge, another host; through the router; through the router by IPv6."""
    return [(cloud.vm1, cloud.vm3, cloud.vm3.v4), (cloud.vm1, cloud.vm4, cloud.vm4.v4), (cloud.vm2, cloud.vm4, cloud.vm4.v6)]


def trust_neighbours(machine):
    """Every half minute or so a machine asks its neighbours and its router whether they still have their MACs. While no
    agent runs, only flows that have answered the same question before do it (docs/operations.md; test_neighbours.py).
    Here it is not what is tested."""
    for family in ("ipv4", "ipv6"):
        machine.run("sysctl", "-qw", f"net.{family}.neigh.eth0.base_reachable_time_ms=3600000")


@contextlib.contextmanager
def streams(cloud):
    """Streams on all paths that have been whole for a second; at the end none must have lost anything."""
    with contextlib.ExitStack() as stack:
        running = []
        for machine in cloud.machines.values():
            trust_neighbours(machine)
        for n, (sender, receiver, address) in enumerate(paths(cloud)):
            assert sender.ping(address, count=5, wait=4).ok
            # The first packets of a stream ask the agent; they count as well.
            running.append((f"{sender.name} to {address}",
                            stack.enter_context(Stream(sender, receiver, address, 7000 + n, 1000 // len(paths(cloud)) + 1))))
        time.sleep(1)
        yield
        for name, stream in running:
            result = stream.stop()
            assert result.sent > 300 and result.whole, f"{name}: {result!r}"


def hold(seconds, since):
    """Until so many seconds have passed since then: the outage's length is the point."""
    time.sleep(max(0, since + seconds - time.monotonic()))


def new_flows(cloud, number):
    """Flows nobody has asked about before: other pairs, addresses that nobody has resolved."""
    assert cloud.vm2.ping(cloud.vm6.v4, wait=4).ok, "router, same host"
    assert cloud.vm3.ping(cloud.vm6.v6, wait=4).ok, "router, other host"
    assert cloud.vm6.ping(cloud.vm3.v4, wait=4).ok
    # Addresses that the topology does not know. The router's question is asked by h1; what h1 hears itself it knows
    # without a store. (What another host hears comes by the store.)
    cloud.vm5.run("ip", "addr", "add", f"10.1.2.{number}/24", "dev", "eth0")
    assert cloud.vm6.ping(f"10.1.2.{number}", wait=4).ok, "a new address, same bridge, other host"
    cloud.vm2.run("ip", "addr", "add", f"10.1.1.{number}/24", "dev", "eth0")
    assert cloud.vm6.ping(f"10.1.1.{number}", wait=4).ok, "a new address behind the router, same host"


def restart(host, how=signal.SIGKILL):
    host.stop_agent(how)
    host.start_agent(wait=False)
    wait_until(lambda: host.cloud.cli("agent", "status", "--host", host.name, check=False).status == 0, 15,
               f"the agent of {host.name} to answer", 0.05)


def forwards_again(cloud, host):
    """A restarted agent has its topology, from wherever: it makes new flows."""
    others = {"h1": (cloud.vm1, cloud.vm4), "h2": (cloud.vm4, cloud.vm1)}
    sender, receiver = others[host.name]
    wait_until(lambda: sender.reaches(receiver.v6), 10, f"new flows of {host.name}")


def test_a_killed_agent_loses_nothing(own_cloud):
    """kill -9; 30 seconds without it; another one."""
    cloud = own_cloud
    with streams(cloud):
        start = time.monotonic()
        cloud.h1.stop_agent(signal.SIGKILL)
        hold(30, start)
        cloud.h1.start_agent()
        hold(32, start)
    cloud.wait_ports()
    new_flows(cloud, 70)


def outage(cloud, away, seconds):
    """The store is away for so long; agents restart meanwhile; old and new flows work; then changes arrive."""
    with streams(cloud):
        time.sleep(7)  # the snapshots on disk are younger than the topology
        with away():
            start = time.monotonic()
            new_flows(cloud, 60)
            for host in (cloud.h1, cloud.h2):
                restart(host)
                forwards_again(cloud, host)
            new_flows(cloud, 61)
            hold(seconds, start)
            new_flows(cloud, 62)
            assert cloud.vm2.reaches(cloud.vm6.v4, 4) and cloud.vm3.reaches(cloud.vm6.v4, 4)
        wait_until(lambda: cloud.cli("bridge", "list", check=False).status == 0, 30, "the API to answer again", 0.2)
        cloud.cli("route", "create", "--name", "hole", "--router", "core", "--destination", "10.1.2.16/32", "--kind",
                  "blackhole")
        for machine in (cloud.vm2, cloud.vm3):
            wait_until(lambda m=machine: not m.reaches(cloud.vm6.v4), 15, f"the change to arrive at {machine.host.name}")
    for host in cloud.hosts.values():
        wait_until(lambda h=host: h.status()["store"] == "up", 15, f"{host.name} to have the store")
    cloud.cli("route", "delete", "hole")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm6.v4), 15, "the hole to go")
    cloud.wait_ports()


def test_zookeeper_is_killed_for_half_a_minute(own_zookeeper_cloud):
    outage(own_zookeeper_cloud, own_zookeeper_cloud.store.killed, 30)


def test_zookeeper_hangs(own_zookeeper_cloud):
    """It has our connections and does not answer."""
    outage(own_zookeeper_cloud, own_zookeeper_cloud.store.stopped, 12)


def test_the_store_s_directory_is_away(own_embedded_cloud):
    outage(own_embedded_cloud, own_embedded_cloud.store.gone, 10)


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_zookeeper_is_away_for_five_minutes(own_zookeeper_cloud, how):
    outage(own_zookeeper_cloud, getattr(own_zookeeper_cloud.store, how), 300)


def test_one_host_is_cut_off(own_zookeeper_cloud):
    """Only h1 cannot reach the store. What is changed meanwhile reaches the others at once, and h1 when it is back."""
    cloud = own_zookeeper_cloud
    with streams(cloud):
        with cloud.store.cut_off(cloud.h1):
            new_flows(cloud, 50)
            assert cloud.vm1.reaches(cloud.vm6.v4, 4) and cloud.vm3.reaches(cloud.vm6.v4, 4)
            with cloud.route("hole", "10.1.2.16/32", kind="blackhole"):
                wait_until(lambda: not cloud.vm3.reaches(cloud.vm6.v4), 5, "the change at h2")
                assert cloud.vm1.reaches(cloud.vm6.v4, 2), "h1 cannot know"
                wait_until(lambda: cloud.h1.status()["store"] == "down", 20, "h1 to say that it has no store")
            wait_until(lambda: cloud.vm3.reaches(cloud.vm6.v4), 5, "the hole to go")
            cloud.cli("route", "create", "--name", "hole", "--router", "core", "--destination", "10.1.2.16/32", "--kind",
                      "blackhole")
        wait_until(lambda: not cloud.vm1.reaches(cloud.vm6.v4), 20, "what changed meanwhile at h1")
    cloud.cli("route", "delete", "hole")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm6.v4), 5, "the hole to go")


def test_an_agent_starts_first_without_store_or_snapshot(own_embedded_cloud):
    """Nothing known, nothing guessed: it waits, says so, and goes on when there is a store."""
    cloud = own_embedded_cloud
    cloud.h1.stop_agent(signal.SIGKILL)
    keep = (cloud.h1.state_dir / "host-id").read_text()
    for path in cloud.h1.state_dir.iterdir():
        if path.is_file():
            path.unlink()
    (cloud.h1.state_dir / "host-id").write_text(keep)
    with cloud.store.gone():
        cloud.h1.start_agent(wait=False)
        wait_until(lambda: cloud.cli("agent", "status", "--host", "h1", check=False).status == 0, 10, "the agent to answer")
        status = cloud.h1.status()
        assert status["store"] == "down" and not status["synced"], status
    cloud.h1.wait_ready(20)
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 10, "traffic")
