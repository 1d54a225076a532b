# SPDX-License-Identifier: Apache-2.0
"""The product explains itself: traces, flows, the drawn topology, the state of hosts."""
import re

import pytest

from netns import wait_until


def trace(cloud, packet, host="h1", port="vm1"):
    return cloud.cli("trace", "--host", host, "--in", port, packet).out


DELIVERED = {
    "ipv4": "eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.14 | udp 1000 > 2000",
    "ipv6": "eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv6 fd00:1::11 > fd00:2::14 | udp 1000 > 2000",
}


@pytest.mark.parametrize("family", DELIVERED)
def test_trace_of_a_delivered_packet_names_every_device(cloud, family):
    text = trace(cloud, DELIVERED[family])
    devices = ["vm1", "blue", "blue-core", "core-blue", "core", "core-green", "green-core", "green", "vm4", "h2"]
    for device in devices:
        assert re.search(rf"(?<![\w-]){device}(?![\w-])", text), (device, text)
    assert cloud.h2.underlay in text
    steps = cloud.json("trace", "--host", "h1", "--in", "vm1", DELIVERED[family])
    assert steps["verdict"] == "forward" and steps["steps"] and steps["cacheable"]
    assert "eth.dst 02:00:00:00:01:01" in steps["match"] and cloud.h2.underlay in steps["actions"]
    assert {("port", "vm4"), ("host", "h2")} <= {(o["kind"], o.get("name")) for o in steps["depends_on"]}
    assert [] == [o for o in steps["depends_on"] if "name" not in o]


def test_trace_inside_a_host_and_on_one_switch(cloud):
    text = trace(cloud, "eth 02:00:00:00:01:11 > 02:00:00:00:01:12 | ipv4 10.1.1.11 > 10.1.1.12 | udp 1 > 2")
    assert "blue" in text and "vm2" in text and "core-green" not in text


@pytest.mark.parametrize("packet, reason, named", [
    ("eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 203.0.113.9 | udp 1 > 2", "no_route", "core"),
    ("eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv6 fd00:1::11 > 2001:db8::9 | udp 1 > 2", "no_route", "core"),
    ("eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.14 ttl 1 | udp 1 > 2", "ttl_exceeded", "core"),
    ("eth 03:00:00:00:01:11 > 02:00:00:00:01:12 | ipv4 10.1.1.11 > 10.1.1.12 | udp 1 > 2", "bad_source_mac", "vm1"),
])
def test_trace_of_a_dropped_packet_names_the_reason(cloud, packet, reason, named):
    text = trace(cloud, packet)
    assert reason in text and named in text, text


@pytest.mark.parametrize("family", DELIVERED)
def test_trace_that_ends_as_expected(cloud, family):
    """Also at the host where the packet comes out, whose agent is asked."""
    done = cloud.cli("trace", "--host", "h1", "--in", "vm1", "--expect", "port:vm4", DELIVERED[family])
    assert "at host h2:" in done.out and "as expected: delivered to port vm4 at host h2" in done.out
    answer = cloud.json("trace", "--host", "h1", "--in", "vm1", "--expect", "delivered", DELIVERED[family])
    assert answer["expected"]["met"] and [h["host"] for h in answer["hops"]] == ["h2"]
    assert answer["hops"][0]["trace"]["verdict"] == "forward"


def test_trace_that_ends_otherwise_names_the_stage(cloud):
    lost = "eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 203.0.113.9 | udp 1 > 2"
    done = cloud.cli("trace", "--host", "h1", "--in", "vm1", "--expect", "delivered", lost, check=False)
    assert done.status == 6, done
    assert "not as expected: dropped: no_route" in done.out
    assert re.search(r"because of router core: .*\[no_route\]", done.out), done.out
    assert "what would help: add a route" in done.out
    assert cloud.cli("trace", "--host", "h1", "--in", "vm1", "--expect", "dropped:no_route", lost).status == 0
    other = cloud.cli("trace", "--host", "h1", "--in", "vm1", "--expect", "port:vm2", DELIVERED["ipv4"], check=False)
    assert other.status == 6 and "delivered to port vm4" in other.out
    nonsense = cloud.cli("trace", "--host", "h1", "--in", "vm1", "--expect", "lost", lost, check=False)
    assert nonsense.status == 2 and "dropped:REASON" in nonsense.err


def test_trace_follows_the_topology(cloud):
    """It asks the same simulation that forwards, on the same snapshot."""
    with cloud.route("hole", "10.1.2.14/32", kind="blackhole"):
        wait_until(lambda: "route_blackhole" in trace(cloud, DELIVERED["ipv4"]), 2, "the trace to follow")
        assert "hole" in trace(cloud, DELIVERED["ipv4"])
    wait_until(lambda: "route_blackhole" not in trace(cloud, DELIVERED["ipv4"]), 2, "the trace to follow")


def test_trace_changes_nothing(cloud):
    before = cloud.h1.status()
    for _ in range(3):
        trace(cloud, "eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.200 | udp 1 > 2")
    after = cloud.h1.status()
    assert before["counters"]["packets_generated"] == after["counters"]["packets_generated"]
    assert before["drops"] == after["drops"]
    assert after["parked"] == 0


@pytest.mark.parametrize("packet, parts", [
    ("eth 02:00:00:00:01 > 02:00:00:00:01:01", ["02:00:00:00:01"]),
    ("ipv5 1 > 2", ["ipv5"]),
    ("", []),
    ("eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.999 | udp 1 > 2", ["10.1.2.999"]),
])
def test_trace_of_nonsense_says_where(cloud, packet, parts):
    answer = cloud.cli("trace", "--host", "h1", "--in", "vm1", packet, check=False)
    assert answer.status in (1, 2), answer
    for part in parts:
        assert part in answer.text, answer


def test_trace_from_a_port_that_is_elsewhere(cloud):
    answer = cloud.cli("trace", "--host", "h1", "--in", "vm4", DELIVERED["ipv4"], check=False)
    assert answer.status == 1 and "vm4" in answer.text, answer
    answer = cloud.cli("trace", "--host", "h1", "--in", "nobody", DELIVERED["ipv4"], check=False)
    assert answer.status == 1 and "nobody" in answer.text, answer


def test_flows_say_what_the_kernel_does(cloud):
    assert cloud.vm1.ping(cloud.vm4.v4, count=10, interval=0.01).ok
    with cloud.route("hole", "203.0.113.0/24", kind="blackhole"):
        wait_until(lambda: not cloud.vm1.reaches("203.0.113.50")
                   and any(f.get("reason") == "route_blackhole" for f in cloud.h1.flows()), 3, "a flow that says why")
    flows = cloud.h1.flows()
    tunnelled = [f for f in flows if cloud.h2.underlay in f["actions"] and f["packets"] >= 9]
    assert tunnelled, flows
    text = cloud.cli("flows", "--host", "h1").out
    assert cloud.h2.underlay in text
    assert "because of" not in text


def test_flows_say_why(cloud):
    assert cloud.vm1.ping(cloud.vm4.v4).ok
    flow = next(f for f in cloud.h1.flows() if cloud.h2.underlay in f["actions"] and "02:00:00:00:01:01" in f["match"])
    named = {(o["kind"], o.get("name")) for o in flow["depends_on"]}
    assert named >= {("port", "vm1"), ("bridge", "blue"), ("router", "core"), ("bridge", "green"), ("port", "vm4"),
                     ("host", "h2")}, named
    vm4 = cloud.json("port", "show", "vm4")
    assert vm4["id"] in {o.get("id") for o in flow["depends_on"]}
    text = cloud.cli("flows", "--why", "--host", "h1").out
    assert f"port vm4 ({vm4['id']})" in text and "router core" in text and "its routes" in text, text


def test_unrelated_flows_are_shared(cloud):
    """Per-bit masks: another port number is the same class, not another flow."""
    assert cloud.vm1.ping(cloud.vm4.v4).ok
    before = cloud.h1.status()
    for port in range(2000, 2200):
        cloud.vm1.run("bash", "-c", f"echo x >/dev/udp/{cloud.vm4.v4}/{port}") if port % 50 == 0 else None
    after = cloud.h1.status()
    assert after["counters"]["flows_installed"] - before["counters"]["flows_installed"] <= 2


def test_flows_go_only_where_something_changed(cloud):
    """A change takes away the flows that read it, no others."""
    assert cloud.vm1.ping(cloud.vm2.v4).ok and cloud.vm1.ping(cloud.vm4.v4).ok and cloud.vm1.ping(cloud.vm3.v4).ok
    before = cloud.h1.status()
    with cloud.route("elsewhere", "198.51.100.0/24", kind="blackhole"):
        wait_until(lambda: cloud.h1.status()["applied_epoch"] > before["applied_epoch"], 2, "the change to arrive")
    after = cloud.h1.status()
    invalidated = after["counters"]["flows_invalidated"] - before["counters"]["flows_invalidated"]
    assert invalidated <= 1, "a route to nowhere near concerns none of these flows"


def test_idle_flows_stay_listed_until_they_expire(cloud):
    assert cloud.vm2.ping(cloud.vm3.v6).ok
    assert all("idle_ms" in f for f in cloud.h1.flows() if f["packets"] > 0)


def test_topology_is_drawn(cloud):
    text = cloud.cli("topology").out
    for name in ["blue", "green", "core", "core-blue", "green-core", "10.1.1.1/24", "fd00:2::1/64", *cloud.machines,
                 *cloud.hosts]:
        assert name in text, (name, text)
    assert max(len(line) for line in text.splitlines()) < 200


def test_lists_and_shows(cloud):
    text = cloud.cli("port", "list").out
    for name in cloud.machines:
        assert name in text
    assert "02:00:00:00:01:11" in cloud.cli("port", "show", "vm1").out
    assert [p["name"] for p in cloud.items("port", "--host", "h3")] == ["vm5"]
    assert {p["name"] for p in cloud.items("port", "--bridge", "blue")} == {"vm1", "vm2", "vm3", "blue-core"}
    shown = cloud.json("port", "show", "vm1")
    assert shown["addresses"] == ["10.1.1.11", "fd00:1::11"] and shown["interface"] == "tap-vm1"
    assert "name: vm1" in cloud.cli("port", "show", "vm1", "--yaml").out


def test_status_says_how_the_host_is(cloud):
    status = cloud.h1.status()
    assert status["name"] == "h1" and status["synced"] and status["registered"] and status["store"] == "up"
    assert status["tunnel_addresses"] == [cloud.h1.underlay]
    assert status["ports_active"] == 3 and status["ports_failed"] == 0
    text = cloud.cli("agent", "status", "--host", "h1").out
    assert "h1" in text and cloud.h1.underlay in text
    assert "tap-vm1" in cloud.cli("agent", "ports", "--host", "h1").out


def test_counters_of_ports_count(cloud):
    before = cloud.h1.ports()["vm2"]
    assert cloud.vm2.ping(cloud.vm1.v4, count=10, interval=0.01).ok
    after = cloud.h1.ports()["vm2"]
    assert after["rx_packets"] - before["rx_packets"] >= 10
    assert after["tx_packets"] - before["tx_packets"] >= 10


@pytest.mark.parametrize("address", ["10.1.2.14", "fd00:2::14"])
def test_trace_requests_follow_real_packets(cloud, address):
    """Established traffic, too: its flow gives way, and comes back when the request has had its packets."""
    def send(count):
        assert cloud.vm1.ping(address, count=count).ok

    name = "why6" if ":" in address else "why4"  # traces stay when their request goes
    send(1)
    cloud.cli("trace-request", "create", "--name", name, "--port", "vm1", "--limit", "3",
              "--destination", f"{address}/{128 if ':' in address else 32}", "--wait")
    try:
        send(6)
        traces = cloud.json("traces", "--host", "h1", "--request", name)["traces"]
        assert [t["outcome"] for t in traces] == ["forward"] * 3, traces
        assert any("vm4" in step for step in traces[0]["steps"]), traces[0]
        text = cloud.cli("traces", "--host", "h1", "--request", name).out
        assert text.count(f"{name} #") == 3 and "bridge blue" in text, text
        assert cloud.json("traces", "--host", "h2", "--request", name)["traces"] == []
        # Anew after a change, at the host of the port only.
        cloud.cli("trace-request", "update", name, "--limit", "2", "--wait")
        send(4)
        assert len(cloud.json("traces", "--host", "h1", "--request", name)["traces"]) == 5
    finally:
        cloud.cli("trace-request", "delete", name, "--wait")
    before = len(cloud.json("traces", "--host", "h1")["traces"])
    send(2)
    assert len(cloud.json("traces", "--host", "h1")["traces"]) == before, "they stay, and no more come"
    refused = cloud.cli("trace-request", "create", "--name", "bad", "--port", "vm1", "--destination-ports", "80",
                        check=False)
    assert refused.status != 0 and "needs protocol tcp, udp or sctp" in refused.err, refused
