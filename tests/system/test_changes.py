# SPDX-License-Identifier: Apache-2.0
"""The topology changes while packets flow: ports move, interfaces vanish, things are switched off. Nothing restarts."""
import pytest

from netns import wait_until


def reaches_all(machine, addresses):
    return all(machine.reaches(a) for a in addresses)


def test_port_moves_to_another_host(cloud):
    """Unplugged here, plugged in there: traffic follows, also from machines that were talking to it."""
    vm2 = cloud.vm2
    for vm in (cloud.vm1, cloud.vm3, cloud.vm4):
        assert vm.ping(vm2.v4).ok and vm.ping(vm2.v6).ok
    for target in (cloud.h3, cloud.h1):
        vm2.shut_down()
        vm2.boot(target)
        cloud.cli("port", "update", "vm2", "--host", target.name, "--interface", vm2.tap)
        wait_until(lambda: cloud.vm3.reaches(vm2.v4), 5, f"vm2 on {target.name}")
        for vm in (cloud.vm1, cloud.vm3, cloud.vm4):
            wait_until(lambda vm=vm: reaches_all(vm, [vm2.v4, vm2.v6]), 2, f"{vm.name} to reach vm2")
        assert vm2.ping(cloud.vm1.v4).ok and vm2.ping(cloud.vm5.v6).ok
        assert "vm2" in target.ports()
    cloud.wait_ports()


def test_port_moves_while_it_is_pinged(cloud):
    """The port is wanted elsewhere where its interface waits already: a few packets at most are lost."""
    vm2 = cloud.vm2
    here, there = vm2, None
    with cloud.vm3.pinger(vm2.v4) as pinger:
        wait_until(lambda: cloud.vm3.reaches(vm2.v4), 2)
        there = cloud.add_machine("vm2b", "h3", vm2.mac, ["10.1.1.12/24", "fd00:1::12/64"])
        try:
            cloud.cli("port", "update", "vm2", "--host", "h3", "--interface", there.tap)
            wait_until(lambda: "vm2" in cloud.h3.ports() and "vm2" not in cloud.h1.ports(), 5, "the port on h3")
            wait_until(lambda: cloud.vm3.reaches(vm2.v4), 2, "traffic to follow")
            before = there.namespace.counter("IcmpInEchos")
            assert cloud.vm3.ping(vm2.v4).ok
            assert there.namespace.counter("IcmpInEchos") > before, "the one on h3 answers"
        finally:
            cloud.cli("port", "update", "vm2", "--host", "h1", "--interface", here.tap)
            wait_until(lambda: "vm2" in cloud.h1.ports(), 5, "the port on h1 again")
            there.shut_down()
            del cloud.machines["vm2b"]
        wait_until(lambda: cloud.vm3.reaches(vm2.v4), 2, "traffic to come back")
        result = pinger.stop()
    assert result.received > 0
    assert result.lost < 100, result  # two seconds' worth; two moves


def test_interface_vanishes_and_comes_back(cloud):
    vm3 = cloud.vm3
    assert cloud.vm1.ping(vm3.v4).ok
    for _ in range(2):
        vm3.unplug()
        wait_until(lambda: "vm3" not in cloud.h2.ports(), 5, "h2 to let go of it")
        assert not cloud.vm1.reaches(vm3.v4)
        assert cloud.vm1.ping(cloud.vm4.v4).ok, "others on that host are not concerned"
        vm3.plug()
        wait_until(lambda: cloud.vm1.reaches(vm3.v4) and cloud.vm1.reaches(vm3.v6), 5, "vm3 again")
        assert vm3.ping(cloud.vm5.v6).ok and vm3.ping(cloud.vm2.v4).ok
    cloud.wait_ports()


def test_interface_is_replaced_in_a_blink(cloud):
    """Deleted and made again faster than anybody looks: same name, another interface."""
    vm3 = cloud.vm3
    for _ in range(5):
        vm3.unplug()
        vm3.plug()
    wait_until(lambda: cloud.vm1.reaches(vm3.v4) and cloud.vm1.reaches(vm3.v6), 5, "vm3 again")
    assert vm3.ping(cloud.vm1.v6).ok
    cloud.wait_ports()


def test_interface_is_renamed(cloud):
    """A port wants an interface of that name, not the one that had it once."""
    ns = cloud.h2.namespace
    tap = cloud.vm3.tap
    ns.run("ip", "link", "set", tap, "down")
    ns.run("ip", "link", "set", tap, "name", "another", "up")
    try:
        wait_until(lambda: "vm3" not in cloud.h2.ports(), 5, "h2 to let go of it")
        assert not cloud.vm1.reaches(cloud.vm3.v4)
    finally:
        ns.run("ip", "link", "set", "another", "down")
        ns.run("ip", "link", "set", "another", "name", tap, "up")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm3.v4), 5, "vm3 again")


def test_port_wants_an_interface_that_comes_later(cloud):
    cloud.cli("port", "create", "--name", "late", "--bridge", "blue", "--host", "h3", "--interface", "tap-late")
    try:
        late = cloud.add_machine("late", "h3", "02:00:00:00:01:99", ["10.1.1.99/24", "fd00:1::99/64"],
                                 ["10.1.1.1", "fd00:1::1"])
        wait_until(lambda: late.reaches(cloud.vm1.v4) and late.reaches(cloud.vm4.v6), 5, "the late machine")
        wait_until(lambda: cloud.vm3.reaches(late.v4) and cloud.vm5.reaches(late.v6), 2, "others reach it")
        late.shut_down()
        del cloud.machines["late"]
    finally:
        cloud.cli("port", "delete", "late")
    cloud.wait_ports()


@pytest.mark.parametrize("noun, name, reason", [("port", "vm3", "port_admin_down"), ("bridge", "blue", "bridge_admin_down"),
                                                ("router", "core", "router_admin_down"),
                                                ("port", "core-green", "port_admin_down")])
def test_switched_off_and_on(cloud, noun, name, reason):
    """What is down drops everything, with a reason, and says no word; what is up again works again."""
    source, target = (cloud.vm1, cloud.vm3) if name in ("vm3", "blue") else (cloud.vm1, cloud.vm4)
    assert source.ping(target.v4).ok and source.ping(target.v6).ok
    before = cloud.h1.drops(reason)
    with cloud.changed(noun, name, ["--admin-up", "false"], ["--admin-up", "true"]):
        wait_until(lambda: not source.reaches(target.v4) and not source.reaches(target.v6), 2, "silence")
        assert cloud.h1.drops(reason) > before, cloud.h1.drops()
        if name == "vm3":
            assert source.ping(cloud.vm2.v4).ok and source.ping(cloud.vm4.v4).ok
            before = cloud.h2.drops(reason)
            assert not cloud.vm3.reaches(cloud.vm2.v4), "nor may it send"
            # The first is counted at once, those that a flow drops with the flow's statistics.
            wait_until(lambda: cloud.h2.drops(reason) > before, 3, "its packets to be counted")
        elif noun != "bridge":
            assert source.ping(cloud.vm3.v4).ok
    wait_until(lambda: source.reaches(target.v4) and source.reaches(target.v6), 2, f"{name} again")


def test_link_between_devices_is_cut_and_mended(cloud):
    assert cloud.vm1.ping(cloud.vm4.v4).ok
    with cloud.changed("port", "core-green", ["--clear", "peer"], ["--peer", "green-core"]):
        wait_until(lambda: not cloud.vm1.reaches(cloud.vm4.v4), 2, "the cut")
        assert cloud.vm1.ping("10.1.1.1").ok
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 2, "the link again")


def test_mac_and_addresses_of_a_port_change(cloud):
    """The topology's word on who has an address is taken back: the router asks, or believes the new word."""
    vm4 = cloud.vm4
    assert cloud.vm1.ping(vm4.v4).ok
    with cloud.changed("port", "vm4", ["--clear", "mac,addresses"],
                       ["--mac", vm4.mac, "--addresses", f"{vm4.v4},{vm4.v6}"]):
        wait_until(lambda: cloud.vm1.reaches(vm4.v4, wait=1) and cloud.vm1.reaches(vm4.v6, wait=1), 5, "vm4 to be found")
    assert cloud.vm1.ping(vm4.v4).ok
    # A wrong word is believed, too.
    with cloud.changed("port", "vm4", ["--mac", "02:00:00:00:02:ee"], ["--mac", vm4.mac]):
        wait_until(lambda: not cloud.vm1.reaches(vm4.v4), 2, "the wrong MAC to be believed")
    wait_until(lambda: cloud.vm1.reaches(vm4.v4), 2, "the right one again")


def test_port_is_deleted_and_made_again(cloud):
    vm3 = cloud.vm3
    assert cloud.vm1.ping(vm3.v4).ok
    cloud.cli("port", "delete", "vm3")
    wait_until(lambda: not cloud.vm1.reaches(vm3.v4) and "vm3" not in cloud.h2.ports(), 2, "it to be gone")
    cloud.cli("port", "create", "--name", "vm3", "--bridge", "blue", "--host", "h2", "--interface", vm3.tap, "--mac", vm3.mac,
              "--addresses", f"{vm3.v4},{vm3.v6}")
    wait_until(lambda: cloud.vm1.reaches(vm3.v4) and cloud.vm1.reaches(vm3.v6), 5, "it to be back")
    cloud.wait_ports()


def test_host_is_renamed(cloud):
    with cloud.vm1.pinger(cloud.vm5.v4) as pinger:
        wait_until(lambda: cloud.vm1.reaches(cloud.vm5.v4), 2)
        cloud.cli("host", "update", "h3", "--name", "elsewhere")
        try:
            assert {h["name"] for h in cloud.items("host")} == {"h1", "h2", "elsewhere"}
            assert cloud.vm1.ping(cloud.vm5.v4, count=20).ok
            assert "elsewhere" in cloud.cli("topology").out
        finally:
            cloud.cli("host", "update", "elsewhere", "--name", "h3")
        result = pinger.stop()
    assert result.lost == 0, result


def test_two_switches_with_the_same_addresses_stay_apart(cloud):
    """Two tenants, the same MACs, the same addresses, the same hosts."""
    cloud.cli("bridge", "create", "--name", "red", "--tenant", "other")
    twins = []
    try:
        for name, host, original in (("red1", "h1", cloud.vm1), ("red3", "h2", cloud.vm3)):
            twin = cloud.add_machine(name, host, original.mac, original.addresses)
            twins.append(twin)
            cloud.cli("port", "create", "--name", name, "--tenant", "other", "--bridge", "red", "--host", host, "--interface",
                      twin.tap, "--mac", twin.mac, "--addresses", f"{twin.v4},{twin.v6}")
        cloud.wait_ports()
        one, three = twins
        pairs = [(cloud.vm1, cloud.vm3), (one, three)]
        for a, b in pairs:
            others = [vm for pair in pairs for vm in pair if vm not in (a, b)]
            with others[0].capture() as x, others[1].capture() as y:
                a.run("ip", "neigh", "flush", "dev", "eth0")
                before = b.namespace.counter("IcmpInEchos")
                assert a.ping(b.v4, count=5).ok and a.ping(b.v6, count=5).ok
                assert b.namespace.counter("IcmpInEchos") == before + 5
                assert a.mac != b.mac
                for capture in (x, y):
                    heard = [f for f in capture.frames() if f[12:14] == b"\x08\x00"]
                    assert not heard, "a packet of the other tenant"
        # No router, no way out.
        assert not one.reaches(cloud.vm2.v4)
    finally:
        for twin in twins:
            cloud.cli("port", "delete", twin.name, "--tenant", "other", check=False)
            twin.shut_down()
            cloud.machines.pop(twin.name, None)
        cloud.cli("bridge", "delete", "red", "--tenant", "other")
    cloud.wait_ports()
