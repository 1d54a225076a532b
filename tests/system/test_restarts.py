# SPDX-License-Identifier: Apache-2.0
"""Daemons die and come back; packets do not notice."""
import signal
import subprocess

import pytest

from cloud import Host, mounts_below
from daemon import Daemon
from frames import tunnel_packets
from netns import wait_until


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_agent_restarts_under_traffic(cloud, how):
    """What flows goes on through the agent's end, its absence and its next start; its flows are adopted."""
    pairs = [(cloud.vm1, cloud.vm2.v4), (cloud.vm1, cloud.vm4.v4), (cloud.vm3, cloud.vm1.v6), (cloud.vm6, cloud.vm1.v4)]
    for a, address in pairs:
        assert a.ping(address, count=2).ok
    incarnation = cloud.h1.status()["incarnation"]
    pingers = [a.pinger(address) for a, address in pairs]
    try:
        for a, address in pairs:
            assert a.ping(address, count=5).ok
        status = cloud.h1.stop_agent(how)
        assert status == (0 if how == signal.SIGTERM else -9)
        for a, address in pairs:
            answer = a.ping(address, count=20)
            assert answer.ok, (a.name, address, answer)
        cloud.h1.start_agent()
        after = cloud.h1.status()
        assert after["incarnation"] > incarnation
        adopted = cloud.h1.flows()
        assert max(f["packets"] for f in adopted) > 20, "flows keep their statistics"
        for a, address in pairs:
            assert a.ping(address, count=20).ok
        for pinger in pingers:
            result = pinger.stop()
            assert result.lost == 0 and result.sent - result.received <= 3, result
    finally:
        for pinger in pingers:
            pinger.__exit__()
        if cloud.h1.agent.process.poll() is not None:
            cloud.h1.start_agent()
    # New flows are made as before.
    assert cloud.vm1.ping(cloud.vm5.v6).ok and cloud.vm2.ping(cloud.vm4.v6).ok
    cloud.wait_ports()


def test_restarted_agent_learns_what_changed_meanwhile(cloud):
    """An adopted flow that is not right any more goes."""
    assert cloud.vm1.ping(cloud.vm4.v4).ok and cloud.vm1.ping(cloud.vm6.v4).ok and cloud.vm1.ping(cloud.vm3.v4).ok
    cloud.h1.stop_agent(signal.SIGKILL)
    try:
        cloud.cli("route", "create", "--name", "hole", "--router", "core", "--destination", "10.1.2.14/32", "--kind",
                  "blackhole")
        cloud.vm3.shut_down()
        cloud.vm3.boot(cloud.h3)
        cloud.cli("port", "update", "vm3", "--host", "h3", "--interface", cloud.vm3.tap)
        assert cloud.vm1.ping(cloud.vm4.v4).ok, "nobody told the kernel yet"
    finally:
        cloud.h1.start_agent()
    wait_until(lambda: not cloud.vm1.reaches(cloud.vm4.v4), 5, "the hole to be respected")
    assert cloud.vm1.ping(cloud.vm6.v4).ok
    wait_until(lambda: cloud.vm1.reaches(cloud.vm3.v4), 5, "vm3 at its new place")
    cloud.cli("route", "delete", "hole")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 2, "vm4 again")
    cloud.vm3.shut_down()
    cloud.vm3.boot(cloud.h2)
    cloud.cli("port", "update", "vm3", "--host", "h2", "--interface", cloud.vm3.tap)
    wait_until(lambda: cloud.vm1.reaches(cloud.vm3.v4), 5, "vm3 at its old place")
    cloud.wait_ports()


def test_interface_changes_while_the_agent_is_dead(cloud):
    cloud.h2.stop_agent(signal.SIGKILL)
    try:
        cloud.vm3.unplug()
        cloud.vm3.plug()
    finally:
        cloud.h2.start_agent()
    wait_until(lambda: cloud.vm1.reaches(cloud.vm3.v4) and cloud.vm1.reaches(cloud.vm3.v6), 5, "vm3 again")
    cloud.wait_ports()


def test_a_dead_host_is_no_reason_to_stop(cloud):
    """A host's lost liveness changes nobody else's forwarding."""
    assert cloud.vm1.ping(cloud.vm4.v4).ok
    cloud.h2.stop_agent(signal.SIGKILL)
    try:
        assert cloud.vm1.ping(cloud.vm4.v4, count=50).ok
        # New flows towards the dead agent's machines are made by the living ones; the answers' flows are there.
        assert cloud.vm2.ping(cloud.vm5.v4).ok
    finally:
        cloud.h2.start_agent()
    assert cloud.vm2.ping(cloud.vm4.v6).ok
    cloud.wait_ports()


def test_agent_restarts_again_and_again(cloud):
    with cloud.vm1.pinger(cloud.vm4.v4) as pinger:
        wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 5)
        for n in range(4):
            cloud.h1.stop_agent(signal.SIGKILL if n % 2 else signal.SIGTERM)
            cloud.h1.start_agent(wait=False)
            if n == 2:  # killed while it starts
                cloud.h1.stop_agent(signal.SIGKILL)
                cloud.h1.start_agent(wait=False)
            cloud.h1.wait_ready()
        cloud.wait_ports()
        result = pinger.stop()
    assert result.lost == 0, result
    links = [name for name in cloud.h1.namespace.links() if name.startswith("plexus")]
    assert len(links) == len(set(links)) <= 4, links


def test_a_second_agent_for_the_same_host_is_refused(cloud):
    second = Daemon(cloud.h1.agent_command(), cloud.dir / "log" / "agent-h1-second")
    try:
        status = second.wait(10)
    finally:
        if second.alive():
            second.process.kill()
            second.process.wait()
    assert status == 1, second.text()
    assert "h1" in second.text(), second.text()
    assert cloud.h1.agent.alive()
    assert cloud.h1.status()["synced"]
    assert cloud.vm1.ping(cloud.vm4.v4).ok and cloud.vm1.ping(cloud.vm2.v6).ok


def test_a_cloned_host_is_refused(cloud):
    """Another machine that calls itself h1 must not take h1's place."""
    h4 = Host(cloud, "h4", "192.0.2.4")
    run_dir = cloud.dir / "run-clone"
    run_dir.mkdir()
    clone = Daemon(h4.namespace.command(cloud.bin / "plexus-agent", "--name", "h1", "--run-dir", run_dir, "--state-dir",
                                        h4.state_dir, "--store", cloud.store.address),
                   cloud.dir / "log" / "agent-clone")
    try:
        status = clone.wait(10)
    finally:
        if clone.alive():
            clone.process.kill()
            clone.process.wait()
        h4.namespace.delete()
        for mount in mounts_below(run_dir):
            subprocess.run(["umount", "-l", mount], check=False)
    assert status != 0
    assert "h1" in clone.text(), clone.text()
    assert sorted(h["name"] for h in cloud.items("host")) == ["h1", "h2", "h3"]
    assert cloud.vm1.ping(cloud.vm5.v4).ok


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_api_restarts(cloud, how):
    with cloud.vm1.pinger(cloud.vm4.v4) as pinger:
        wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 2)
        status = cloud.stop_api(how)
        assert status == (0 if how == signal.SIGTERM else -9)
        answer = cloud.cli("bridge", "list", check=False)
        assert answer.status == 4 and "api.sock" in answer.text, answer
        # Agents need no API: new flows, new neighbours, questions to agents.
        number = 80 if how == signal.SIGTERM else 81
        cloud.vm5.run("ip", "addr", "add", f"10.1.2.{number}/24", "dev", "eth0")
        assert cloud.vm3.ping(f"10.1.2.{number}", wait=4).ok
        assert cloud.vm2.ping(cloud.vm6.v6).ok
        assert cloud.cli("agent", "status", "--host", "h1").status == 0
        cloud.start_api()
        assert len(cloud.items("bridge")) == 2
        with cloud.route("after", "198.51.100.0/24", kind="blackhole"):
            pass
        result = pinger.stop()
    assert result.lost == 0, result


def test_changes_reach_agents_through_another_api_server(cloud):
    """Two API servers on one store: what one writes the other reads, and agents follow both."""
    first = cloud.environment["PLEXUS_API"]
    second = cloud.another_api(f"unix:{cloud.dir}/api2.sock", "api2")
    try:
        cloud.environment["PLEXUS_API"] = f"unix:{cloud.dir}/api2.sock"
        wait_until(lambda: cloud.cli("bridge", "list", check=False).status == 0, 10, "the second API server")
        cloud.cli("route", "create", "--name", "two", "--router", "core", "--destination", "10.1.2.14/32", "--kind",
                  "blackhole")
        wait_until(lambda: not cloud.vm1.reaches(cloud.vm4.v4), 2, "the route")
        cloud.environment["PLEXUS_API"] = first
        cloud.cli("route", "delete", "two")
        wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 2, "the route to be gone")
    finally:
        cloud.environment["PLEXUS_API"] = first
        assert second.stop() == 0


def test_tunnel_traffic_after_all_agents_restarted(cloud):
    for host in cloud.hosts.values():
        host.stop_agent()
    for host in cloud.hosts.values():
        host.start_agent(wait=False)
    for host in cloud.hosts.values():
        host.wait_ready()
    cloud.wait_ports()
    with cloud.h1.uplink_capture() as capture:
        assert cloud.vm1.ping(cloud.vm5.v4, count=5).ok and cloud.vm1.ping(cloud.vm3.v6, count=5).ok
        assert len(tunnel_packets(capture.frames())) >= 10


def test_a_frozen_agent_stops_nothing(cloud):
    """Stopped for a while, as by a debugger: what flows flows; afterwards it is as if nothing had been."""
    assert cloud.vm1.ping(cloud.vm4.v4).ok
    cloud.h1.agent.process.send_signal(signal.SIGSTOP)
    try:
        assert cloud.vm1.ping(cloud.vm4.v4, count=50).ok
        with cloud.route("meanwhile", "10.1.2.15/32", kind="blackhole"):
            assert cloud.vm3.ping(cloud.vm4.v4).ok
    finally:
        cloud.h1.agent.process.send_signal(signal.SIGCONT)
    wait_until(lambda: cloud.vm1.reaches(cloud.vm5.v4), 5, "new flows")
    assert cloud.h1.status()["synced"]


def test_a_frozen_api_server_stops_no_agent(cloud):
    cloud.api.process.send_signal(signal.SIGSTOP)
    try:
        cloud.vm5.run("ip", "addr", "add", "10.1.2.90/24", "dev", "eth0")
        assert cloud.vm3.ping("10.1.2.90", wait=4).ok, "neighbours are learned and stored"
        answer = cloud.cli("--timeout", 1, "bridge", "list", check=False)
        assert answer.status == 3, answer
    finally:
        cloud.api.process.send_signal(signal.SIGCONT)
    assert len(cloud.items("bridge")) == 2


def test_a_host_changes_its_underlay_address(cloud):
    """Renumbered while it runs: the others send to the new address, and accept tunnels from there."""
    ns = cloud.h3.namespace
    assert cloud.vm1.ping(cloud.vm5.v4).ok
    try:
        ns.run("ip", "addr", "delete", "192.0.2.3/24", "dev", "uplink")
        ns.run("ip", "addr", "add", "192.0.2.33/24", "dev", "uplink")
        # Until then the program on the uplink may still take what comes to the old one.
        wait_until(lambda: cloud.h3.status()["tunnel_addresses"] == ["192.0.2.33"], 10, "the agent sees it")
        wait_until(lambda: cloud.vm1.reaches(cloud.vm5.v4) and cloud.vm5.reaches(cloud.vm4.v6), 10, "the new address")
        with cloud.h3.uplink_capture() as capture:
            assert cloud.vm5.ping(cloud.vm1.v4, count=3).ok
            assert {o.payload.src for o, _, _ in tunnel_packets(capture.frames())} == {"192.0.2.33"}
    finally:
        ns.run("ip", "addr", "flush", "dev", "uplink")
        ns.run("ip", "addr", "add", "192.0.2.3/24", "dev", "uplink")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm5.v4), 10, "the old address")


def test_the_fabric_fails_and_recovers(cloud):
    assert cloud.vm1.ping(cloud.vm4.v4).ok
    cloud.fabric.run("ip", "link", "set", "to-h2", "down")
    try:
        assert not cloud.vm1.reaches(cloud.vm4.v4)
        assert cloud.vm1.ping(cloud.vm2.v4).ok and cloud.vm1.ping(cloud.vm5.v4).ok
    finally:
        cloud.fabric.run("ip", "link", "set", "to-h2", "up")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4) and cloud.vm4.reaches(cloud.vm5.v6), 10, "the fabric")


def test_somebody_deletes_the_tunnel_device(cloud):
    """An operator's mistake, or another program's: the agent sees it and makes another."""
    ns = cloud.h1.namespace
    before = ns.links()
    for name in [n for n in before if n.startswith("plexus") and "vx" in n]:
        ns.run("ip", "link", "delete", name)
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4) and cloud.vm3.reaches(cloud.vm1.v6), 10, "another tunnel")


def test_somebody_deletes_the_filters(cloud):
    """`tc qdisc delete` on a machine's interface takes our program away: it comes back."""
    cloud.h1.namespace.run("tc", "qdisc", "delete", "dev", cloud.vm1.tap, "clsact")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4) and cloud.vm1.reaches(cloud.vm2.v6), 10, "the filter")
