# SPDX-License-Identifier: Apache-2.0
"""Topologies beyond two switches and a router: chains, loops, machines plugged into routers."""
import contextlib
import secrets

import pytest

from cloud import Cloud
from frames import BROADCAST, EXPERIMENT, ICMP, Ether, Raw, has, tunnel_packets
from netns import wait_until


@pytest.fixture(scope="module")
def chain():
    """west -- r1 -- r2 -- r3 -- east: vm1 on h1, vm2 on h2; vm3 plugs into r2 itself, on h3.

    Transfer nets are 10.2.12.0/24 and 10.2.23.0/24, with their IPv6 likes.
    """
    cloud = Cloud()
    routers, ports, routes = [], [], []

    def foot(router, name, mac, networks, peer=None):
        ports.append({"name": name, "router": router, "mac": mac, "networks": networks, **({"peer": peer} if peer else {})})

    for n in (1, 2, 3):
        routers.append({"name": f"r{n}"})
    ports += [{"name": "west-r1", "bridge": "west"}, {"name": "east-r3", "bridge": "east"}]
    foot("r1", "r1-west", "02:00:00:00:10:01", ["10.1.1.1/24", "fd00:1::1/64"], "west-r1")
    foot("r1", "r1-r2", "02:00:00:00:12:01", ["10.2.12.1/24", "fd00:12::1/64"])
    foot("r2", "r2-r1", "02:00:00:00:12:02", ["10.2.12.2/24", "fd00:12::2/64"], "r1-r2")
    foot("r2", "r2-r3", "02:00:00:00:23:02", ["10.2.23.2/24", "fd00:23::2/64"])
    foot("r3", "r3-r2", "02:00:00:00:23:03", ["10.2.23.3/24", "fd00:23::3/64"], "r2-r3")
    foot("r3", "r3-east", "02:00:00:00:30:01", ["10.1.2.1/24", "fd00:2::1/64"], "east-r3")

    def route(router, destination, port, via):
        routes.append({"name": f"to-{len(routes)}", "router": router, "destination": destination, "port": port,
                       "next_hop": via})

    route("r1", "0.0.0.0/0", "r1-r2", "10.2.12.2")
    route("r1", "::/0", "r1-r2", "fd00:12::2")
    route("r2", "10.1.1.0/24", "r2-r1", "10.2.12.1")
    route("r2", "fd00:1::/64", "r2-r1", "fd00:12::1")
    route("r2", "10.1.2.0/24", "r2-r3", "10.2.23.3")
    route("r2", "fd00:2::/64", "r2-r3", "fd00:23::3")
    route("r3", "0.0.0.0/0", "r3-r2", "10.2.23.2")
    route("r3", "::/0", "r3-r2", "fd00:23::2")
    try:
        vm1 = cloud.add_machine("vm1", "h1", "02:00:00:00:01:11", ["10.1.1.11/24", "fd00:1::11/64"],
                                ["10.1.1.1", "fd00:1::1"])
        vm2 = cloud.add_machine("vm2", "h2", "02:00:00:00:02:12", ["10.1.2.12/24", "fd00:2::12/64"],
                                ["10.1.2.1", "fd00:2::1"])
        vm3 = cloud.add_machine("vm3", "h3", "02:00:00:00:03:13", ["10.1.3.13/24", "fd00:3::13/64"],
                                ["10.1.3.1", "fd00:3::1"])
        for bridge, vm in (("west", vm1), ("east", vm2)):
            ports.append({"name": vm.name, "bridge": bridge, "host": vm.host.name, "interface": vm.tap, "mac": vm.mac,
                          "addresses": [vm.v4, vm.v6]})
        ports.append({"name": "r2-vm3", "router": "r2", "mac": "02:00:00:00:03:01",
                      "networks": ["10.1.3.1/24", "fd00:3::1/64"], "host": "h3", "interface": vm3.tap})
        cloud.apply({"bridges": [{"name": "west"}, {"name": "east"}], "routers": routers, "ports": ports, "routes": routes})
        cloud.wait_ports()
        yield cloud
    except BaseException:
        cloud.print_logs()
        cloud.tear_down(checked=False)
        raise
    cloud.tear_down()


@pytest.mark.parametrize("size", [56, 1400, 3000])
def test_through_three_routers(chain, size):
    for a, b in ((chain.vm1, chain.vm2), (chain.vm2, chain.vm1), (chain.vm1, chain.vm3), (chain.vm3, chain.vm2)):
        for address in (b.v4, b.v6):
            answer = a.ping(address, count=5, size=size, wait=4)
            assert answer.ok, (a.name, address, answer)


def test_each_router_is_a_hop(chain):
    hops = [chain.vm1.ping(chain.vm2.v4, ttl=n).errors for n in (1, 2, 3)]
    assert hops == [[("10.1.1.1", "time exceeded")], [("10.2.12.2", "time exceeded")], [("10.2.23.3", "time exceeded")]]
    hops = [chain.vm1.ping(chain.vm2.v6, ttl=n).errors for n in (1, 2, 3)]
    assert hops == [[("fd00:1::1", "time exceeded")], [("fd00:12::2", "time exceeded")], [("fd00:23::3", "time exceeded")]]
    assert chain.vm1.ping(chain.vm2.v4, ttl=4).ok and chain.vm1.ping(chain.vm2.v6, ttl=4).ok


def test_three_routers_are_one_hop_on_the_fabric(chain):
    assert chain.vm1.ping(chain.vm2.v4).ok
    with contextlib.ExitStack() as stack:
        captures = {n: stack.enter_context(h.uplink_capture()) for n, h in chain.hosts.items()}
        assert chain.vm1.ping(chain.vm2.v4, count=10).ok
        seen = {n: [inner for _, _, inner in tunnel_packets(c.frames()) if ICMP in inner] for n, c in captures.items()}
    assert sorted(i[ICMP].seq for i in seen["h1"]) == list(range(1, 11))
    assert {i.ttl for i in (p.payload for p in seen["h1"])} == {61}
    assert len(seen["h2"]) == 10 and not seen["h3"]


def test_routers_far_addresses_answer(chain):
    for vm in (chain.vm1, chain.vm2, chain.vm3):
        for address in ("10.2.12.1", "10.2.12.2", "10.2.23.2", "10.2.23.3", "10.1.3.1", "fd00:12::2", "fd00:23::3"):
            answer = vm.ping(address, count=2)
            assert answer.ok, (vm.name, address, answer)


def test_an_unknown_neighbour_behind_a_router_port(chain):
    """vm3 plugs into the router itself; nobody told its MAC, and the router asks on that port."""
    chain.vm3.run("ip", "addr", "add", "10.1.3.77/24", "dev", "eth0")
    answer = chain.vm1.ping("10.1.3.77", count=5, interval=0.01, wait=4)
    assert answer.ok, answer
    assert chain.vm2.ping("10.1.3.77", wait=4).ok


def test_trace_names_the_whole_chain(chain):
    text = chain.cli("trace", "--host", "h1", "--in", "vm1",
                     "eth 02:00:00:00:01:11 > 02:00:00:00:10:01 | ipv4 10.1.1.11 > 10.1.2.12 | udp 1 > 2").out
    for name in ("west", "r1", "r2", "r3", "east", "vm2"):
        assert name in text, text


def test_a_routing_loop_ends(chain):
    """Two routers that send to each other: the hop limit ends it, in one simulation."""
    with chain.route("loop1", "198.51.100.0/24", router="r1", port="r1-r2", next_hop="10.2.12.2"), \
            chain.route("loop2", "198.51.100.0/24", router="r2", port="r2-r1", next_hop="10.2.12.1"):
        wait_until(lambda: chain.vm1.ping("198.51.100.1", ttl=12, wait=0.3).errors[:1]
                   and "time exceeded" in chain.vm1.ping("198.51.100.1", ttl=12, wait=0.3).errors[0], 3, "the end of the loop")
        before = chain.h1.drops()
        answer = chain.vm1.ping("198.51.100.1", ttl=255, wait=1)
        assert answer.received == 0
        after = chain.h1.drops()
        grown = {r for r in after if after[r] > before.get(r, 0)}
        assert grown & {"ttl_exceeded", "too_many_devices"}, (before, after)
        assert chain.vm1.ping(chain.vm2.v4, count=5).ok
    assert chain.h1.agent.alive()


def test_switches_in_a_row_and_in_a_loop(chain):
    """Two more switches beside west, in a ring with it: flooded once to each machine, and no storm."""
    document = {"bridges": [{"name": "b2"}, {"name": "b3"}],
                "ports": [{"name": "west-b2", "bridge": "west"}, {"name": "b2-west", "bridge": "b2", "peer": "west-b2"},
                          {"name": "b2-b3", "bridge": "b2"}, {"name": "b3-b2", "bridge": "b3", "peer": "b2-b3"}]}
    chain.apply(document)
    far = chain.add_machine("far", "h2", "02:00:00:00:01:55", ["10.1.1.55/24", "fd00:1::55/64"], ["10.1.1.1", "fd00:1::1"])
    try:
        chain.cli("port", "create", "--name", "far", "--bridge", "b3", "--host", "h2", "--interface", far.tap, "--mac", far.mac)
        chain.wait_ports()
        wait_until(lambda: chain.vm1.reaches(far.v4) and far.reaches(chain.vm1.v6), 3, "the machine behind three switches")
        assert far.ping(chain.vm2.v4).ok, "and from there through the routers"
        # Close the ring.
        chain.apply({"ports": [{"name": "west-b3", "bridge": "west"}, {"name": "b3-west", "bridge": "b3", "peer": "west-b3"}]})
        token = secrets.token_bytes(24)
        with far.capture() as capture, chain.vm1.raw() as raw, chain.h1.uplink_capture() as fabric:
            raw.send(Ether(src=chain.vm1.mac, dst=BROADCAST, type=EXPERIMENT) / Raw(token))
            capture.wait_for(has(token))
            assert chain.vm1.ping(far.v4, count=20).ok
            assert len(capture.matching(has(token))) == 1
            assert len(fabric.matching(has(token))) == 1
        assert chain.h1.agent.alive() and chain.h2.agent.alive()
    finally:
        chain.cli("port", "delete", "far", check=False)
        far.shut_down()
        chain.machines.pop("far", None)
        for port in ("west-b3", "b3-west", "west-b2", "b2-west", "b2-b3", "b3-b2"):
            chain.cli("port", "delete", port, check=False)
        for bridge in ("b2", "b3"):
            chain.cli("bridge", "delete", bridge)
    chain.wait_ports()
    assert chain.vm1.ping(chain.vm2.v4).ok


def test_many_ports(chain):
    """A hundred ports at once: all are plugged in, and one goes without the others noticing."""
    count = 100
    chain.apply({"bridges": [{"name": "many"}]})
    ns = chain.h3.namespace
    try:
        ns.run("ip", "-batch", "-", input="".join(f"link add many{n} type veth peer name peer{n}\nlink set many{n} up\n"
                                                  f"link set peer{n} up\n" for n in range(count)))
        chain.apply({"ports": [{"name": f"many{n}", "bridge": "many", "host": "h3", "interface": f"many{n}"}
                               for n in range(count)]})
        chain.wait_ports(3 + count, timeout=30)
        ns.run("ip", "link", "delete", "many7")
        chain.wait_ports(3 + count - 1)
        chain.h3.stop_agent()
        chain.h3.start_agent()
        chain.wait_ports(3 + count - 1, timeout=30)
        assert chain.vm3.ping(chain.vm1.v4).ok
    finally:
        chain.cli("delete", "-f", "-", text='{"bridges": [{"name": "many"}], "ports": ['
                  + ", ".join(f'{{"name": "many{n}", "bridge": "many"}}' for n in range(count)) + "]}")
        ns.run("ip", "-batch", "-", input="".join(f"link delete many{n}\n" for n in range(count) if n != 7))
    chain.wait_ports()
