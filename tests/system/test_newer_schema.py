# SPDX-License-Identifier: Apache-2.0
"""Records that a newer version wrote: kept whole by an older one, and what decides about packets fails closed."""
import pytest

from cloud import two_switches
from netns import wait_until
from zookeeper_client import ZooKeeperClient, object_path

# Field 1000, a number: 1. Field 1001, bytes: "newer".
UNKNOWN = b"\xc0\x3e\x01" + b"\xca\x3e\x05newer"


@pytest.fixture(scope="module")
def zookeeper_cloud():
    cloud = two_switches(store="zookeeper")
    try:
        yield cloud
    except BaseException:
        cloud.tear_down(checked=False)
        raise
    cloud.tear_down()


@pytest.fixture
def client(zookeeper_cloud):
    with ZooKeeperClient(zookeeper_cloud) as made:
        yield made


def record_of(cloud, noun, name):
    return object_path(noun, cloud.json(noun, "show", name)["id"])


@pytest.mark.parametrize("noun, name, update", [
    ("bridge", "blue", ["--admin-up", "true"]), ("router", "core", ["--admin-up", "true"]),
    ("port", "vm2", ["--admin-up", "true"]), ("tunnel-zone", "fabric", ["--udp-port", "4789"])])
def test_an_update_keeps_what_it_does_not_know(zookeeper_cloud, client, noun, name, update):
    cloud = zookeeper_cloud
    path = record_of(cloud, noun, name)
    before = client.get(path)
    client.set(path, before + UNKNOWN)
    try:
        wait_until(lambda: cloud.cli(noun, "update", name, *update, check=False).status == 0, 5, "the update")
        after = client.get(path)
        assert UNKNOWN in after or (b"\xc0\x3e\x01" in after and b"\xca\x3e\x05newer" in after), after
        assert cloud.json(noun, "show", name)["name"] == name
    finally:
        client.set(path, before)
    wait_until(lambda: cloud.vm1.reaches(cloud.vm3.v4) and cloud.vm2.reaches(cloud.vm4.v4), 10, "all as before")


@pytest.mark.parametrize("noun, name, hit, spared", [
    ("bridge", "blue", ("vm1", "vm3"), ("vm6", "vm4")),
    ("router", "core", ("vm1", "vm4"), ("vm1", "vm3")),
    ("port", "vm3", ("vm1", "vm3"), ("vm1", "vm2")),
])
def test_who_does_not_know_all_of_it_drops(zookeeper_cloud, client, noun, name, hit, spared):
    """The packet is dropped with a reason that says why, an alarm shows it, and it ends with its cause."""
    cloud = zookeeper_cloud
    hit, spared = ([getattr(cloud, vm) for vm in pair] for pair in (hit, spared))
    assert hit[0].ping(hit[1].v4, wait=4).ok and spared[0].ping(spared[1].v4, wait=4).ok
    path = record_of(cloud, noun, name)
    before = client.get(path)
    dropped = sum(h.drops("newer_schema") for h in cloud.hosts.values())
    client.set(path, before + UNKNOWN)
    try:
        wait_until(lambda: not hit[0].reaches(hit[1].v4), 5, "the old flows to go")
        assert not hit[0].ping(hit[1].v6, wait=1).ok
        assert spared[0].ping(spared[1].v6, wait=4).ok, "only what depends on the record"
        wait_until(lambda: sum(h.drops("newer_schema") for h in cloud.hosts.values()) > dropped, 5, "the drops counted")
        metrics = cloud.h1.namespace.run("curl", "-sS", "--unix-socket", cloud.run_dir / "h1" / "agent.sock",
                                         "http://agent/metrics").stdout
        assert 'reason="newer_schema"' in metrics
    finally:
        client.set(path, before)
    wait_until(lambda: hit[0].reaches(hit[1].v4) and hit[0].reaches(hit[1].v6), 5, "what the record decides about")


def test_a_record_that_asks_for_a_newer_reader(zookeeper_cloud, client):
    """min_reader above ours, no unknown field: the same."""
    cloud = zookeeper_cloud
    path = record_of(cloud, "bridge", "green")
    before = client.get(path)
    client.set(path, before + b"\x20\xff\x01")  # field 4: 255; the last one of a field counts
    try:
        wait_until(lambda: not cloud.vm6.reaches(cloud.vm4.v4), 5, "the bridge to be closed")
        answer = cloud.cli("bridge", "update", "green", "--admin-up", "true", check=False)
        assert answer.status == 1 and "newer" in answer.text, answer
    finally:
        client.set(path, before)
    wait_until(lambda: cloud.vm6.reaches(cloud.vm4.v4), 5, "the bridge")


def test_a_record_that_is_no_record(zookeeper_cloud, client):
    """Bytes that are no message: nobody falls over; what it decided about does not pass."""
    cloud = zookeeper_cloud
    path = record_of(cloud, "bridge", "blue")
    before = client.get(path)
    client.set(path, b"\xff\xff\xff\xff")
    try:
        wait_until(lambda: not cloud.vm1.reaches(cloud.vm3.v4), 5, "the bridge to be closed")
        assert cloud.vm6.ping(cloud.vm4.v4, wait=4).ok
        assert all(host.agent.alive() for host in cloud.hosts.values()) and cloud.api.alive()
    finally:
        client.set(path, before)
    wait_until(lambda: cloud.vm1.reaches(cloud.vm3.v4), 5, "the bridge")
