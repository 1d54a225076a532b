# SPDX-License-Identifier: Apache-2.0
"""A port moves while packets flow to it; a host that cannot be reached is fenced off.

The machine that moves is plugged in on both hosts, as one that migrates live is: the same MAC, the same memory."""
import pytest

from cloud import two_switches
from frames import ARP, BROADCAST, Ether
from netns import RawPort, wait_until
from stream import Stream


def plug_second(machine, host):
    """Another cable of the machine, to another host; nothing is sent over it yet."""
    ns = machine.namespace
    host.namespace.run("ip", "link", "add", machine.tap, "type", "veth", "peer", "name", "eth1", "address", machine.mac,
                       "netns", ns.name)
    for setting in ("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth1.rp_filter=0", "net.ipv4.conf.all.arp_ignore=0",
                    "net.ipv6.conf.eth1.disable_ipv6=1"):
        ns.run("sysctl", "-qw", setting)
    ns.run("ip", "link", "set", "eth1", "arp", "off", "up")
    host.namespace.run("ip", "link", "set", machine.tap, "up")


def announce(machine, interface):
    """What a hypervisor sends when the machine runs: a gratuitous ARP."""
    with RawPort(machine.namespace, interface) as raw:
        raw.send(Ether(src=machine.mac, dst=BROADCAST) /
                 ARP(op=1, hwsrc=machine.mac, psrc=machine.v4, hwdst="00:00:00:00:00:00", pdst=machine.v4))


def back_home(cloud, machine, host):
    """The cloud as the other tests expect it."""
    for other in cloud.hosts.values():
        other.namespace.run("ip", "link", "delete", machine.tap, check=False)
    machine.namespace.delete()
    machine.boot(host)
    cloud.cli("port", "update", machine.name, "--host", host.name, "--interface", machine.tap, "--clear", "migrating_to")
    wait_until(lambda: cloud.vm1.reaches(machine.v4) and machine.reaches(cloud.vm4.v6), 15, f"{machine.name} at home")
    cloud.wait_ports()


def port_of(cloud, name):
    return cloud.json("port", "show", name)


def host_id(cloud, name):
    return cloud.json("host", "show", name)["id"]


def patch(cloud, port, **fields):
    answer = cloud.ask("PATCH", f"/v1/ports/{port_of(cloud, port)['id']}", fields, "--fail-with-body")
    assert '"id"' in answer, answer


@pytest.fixture
def vm3_twice(cloud):
    """vm3, on h2, with a second cable to h3."""
    plug_second(cloud.vm3, cloud.h3)
    try:
        yield cloud
    finally:
        back_home(cloud, cloud.vm3, cloud.h2)


def test_a_port_moves_with_traffic(vm3_twice):
    """Set to another host where its interface waits: a moment at most is lost, and nothing arrives twice."""
    cloud = vm3_twice
    assert cloud.vm1.ping(cloud.vm3.v4, count=5).ok
    assert cloud.h2.status()["moved_keys"] == 0
    with Stream(cloud.vm1, cloud.vm3, cloud.vm3.v4, 7000) as near, Stream(cloud.vm4, cloud.vm3, cloud.vm3.v4, 7001) as far:
        wait_until(lambda: sum(f["packets"] for f in cloud.h1.flows()) > 500, 10, "the streams")
        patch(cloud, "vm3", host=host_id(cloud, "h3"))
        wait_until(lambda: "vm3" in cloud.h3.ports() and "vm3" not in cloud.h2.ports(), 10, "vm3 at h3")
        # Who has not heard of it yet still sends to the old host, which keeps the key to send it on.
        assert cloud.h2.status()["moved_keys"] == 1
        seen = cloud.h3.ports()["vm3"]["tx_packets"]
        wait_until(lambda: cloud.h3.ports()["vm3"]["tx_packets"] > seen + 500, 10, "traffic at h3")
        for stream in (near, far):
            result = stream.stop()
            assert result.duplicated == 0 and result.longest_gap < 0.5 and len(result.lost) < 700, result


@pytest.mark.long
def test_the_old_host_forgets(vm3_twice):
    cloud = vm3_twice
    patch(cloud, "vm3", host=host_id(cloud, "h3"))
    wait_until(lambda: cloud.h2.status()["moved_keys"] == 1, 10, "the move")
    wait_until(lambda: cloud.h2.status()["moved_keys"] == 0, 45, "the key to be given up")


def test_a_migration_waits_for_the_first_frame(vm3_twice):
    """migrating_to: the target makes ready and stays passive; the machine's first frame there makes it take over."""
    cloud = vm3_twice
    assert cloud.vm1.ping(cloud.vm3.v4, count=5).ok
    with Stream(cloud.vm1, cloud.vm3, cloud.vm3.v4) as stream:
        patch(cloud, "vm3", migrating_to=host_id(cloud, "h3"))
        wait_until(lambda: cloud.h3.status()["ports_passive"] == 1, 10, "h3 to be ready")
        seen = cloud.h2.ports()["vm3"]["tx_packets"]
        wait_until(lambda: cloud.h2.ports()["vm3"]["tx_packets"] > seen + 300, 10, "traffic at h2 as before")
        announce(cloud.vm3, "eth1")
        wait_until(lambda: cloud.h3.status()["ports_passive"] == 0 and "vm3" in cloud.h3.ports(), 5, "h3 to take over")
        seen = cloud.h3.ports()["vm3"]["tx_packets"]
        wait_until(lambda: cloud.h3.ports()["vm3"]["tx_packets"] > seen + 500, 10, "traffic at h3")
        result = stream.stop()
    assert result.duplicated == 0 and result.longest_gap < 0.5, result
    with Stream(cloud.vm1, cloud.vm3, cloud.vm3.v4) as stream:
        patch(cloud, "vm3", host=host_id(cloud, "h3"), migrating_to=None)
        wait_until(lambda: "vm3" not in cloud.h2.ports(), 10, "h2 to unplug it")
        result = stream.stop()
    assert result.whole, result


def test_a_migration_is_called_off(vm3_twice):
    cloud = vm3_twice
    patch(cloud, "vm3", migrating_to=host_id(cloud, "h3"))
    wait_until(lambda: cloud.h3.status()["ports_passive"] == 1, 10, "h3 to be ready")
    patch(cloud, "vm3", migrating_to=None)
    wait_until(lambda: cloud.h3.status()["ports_passive"] == 0, 10, "h3 to let go")
    assert cloud.vm1.ping(cloud.vm3.v4, count=3, wait=4).ok and "vm3" in cloud.h2.ports()


@pytest.fixture(scope="module")
def partitioned_cloud():
    made = two_switches(store="zookeeper")
    try:
        yield made
    except BaseException:
        made.tear_down(checked=False)
        raise
    made.tear_down()


def test_a_host_is_fenced(partitioned_cloud):
    """h2 is cut off from the store and cannot be told anything. Fenced, it is out of the others' way; its port lives
    elsewhere while it still believes to have it; back again, it lets go."""
    cloud = partitioned_cloud
    vm3, vm4 = cloud.vm3, cloud.vm4
    assert cloud.vm1.ping(vm3.v4).ok and cloud.vm1.ping(vm4.v4).ok and vm3.ping(vm4.v6, wait=4).ok
    plug_second(vm3, cloud.h3)
    with cloud.store.cut_off(cloud.h2):
        cloud.cli("host", "fence", "h2", "--yes")
        wait_until(lambda: not cloud.vm1.reaches(vm3.v4) and not cloud.vm1.reaches(vm4.v4), 10, "nothing to be sent to h2")
        assert not vm4.reaches(cloud.vm1.v4) and not vm4.reaches(cloud.vm5.v6), "nothing is taken from h2"
        patch(cloud, "vm3", host=host_id(cloud, "h3"))
        wait_until(lambda: "vm3" in cloud.h3.ports(), 10, "vm3 at h3 although h2 has not let go")
        # The machine at h2 is off, in truth; here it answers by its second cable only.
        vm3.namespace.run("ip", "link", "set", "eth1", "arp", "on")
        vm3.namespace.run("ip", "addr", "add", f"{vm3.v4}/24", "dev", "eth1")
        vm3.namespace.run("ip", "link", "set", "eth0", "down")
        wait_until(lambda: cloud.vm1.reaches(vm3.v4), 10, "vm3 at h3")
        assert not cloud.vm1.reaches(vm4.v4)
        refused = cloud.cli("port", "create", "--name", "more", "--bridge", "blue", "--host", "h2", "--interface", "tap-more",
                            check=False)
        assert refused.status == 1 and "h2" in refused.text, refused
    wait_until(lambda: "vm3" not in cloud.h2.ports(), 20, "h2 to let vm3 go")
    cloud.cli("host", "unfence", "h2")
    wait_until(lambda: cloud.vm1.reaches(vm4.v4) and vm4.reaches(cloud.vm5.v6), 10, "h2 to be taken back")
    assert cloud.vm1.ping(vm3.v4, count=3, wait=4).ok
