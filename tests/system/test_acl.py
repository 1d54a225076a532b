# SPDX-License-Identifier: Apache-2.0
"""A cloud in which everybody proves who he is to ZooKeeper: it works as any other, and one rooted hypervisor cannot rewrite
it. The intruder uses a client of its own, with all that its host's identity file holds."""
import pytest

from cloud import two_switches
from netns import wait_until
from stream import Stream
from zookeeper_client import ZooKeeperClient, object_path

DENIED = "NoAuthError"


@pytest.fixture(scope="module")
def guarded():
    cloud = two_switches(store="zookeeper", identities=True)
    try:
        yield cloud
    except BaseException:
        cloud.tear_down(checked=False)
        raise
    cloud.tear_down()


def credentials(cloud, host):
    role, host_id, secret, shared = (cloud.dir / f"{host}.identity").read_text().strip().split(":")
    assert role == "host"
    return host_id, [(f"h-{host_id}", secret), ("hosts", shared)]


@pytest.fixture
def intruder(guarded):
    """(its id, a session of) host h1, and the id of its victim h2."""
    own, auth = credentials(guarded, "h1")
    victim, _ = credentials(guarded, "h2")
    with ZooKeeperClient(guarded, auth) as client:
        yield client, own, victim


def test_the_cloud_works(guarded):
    cloud = guarded
    for machine, address in ((cloud.vm1, cloud.vm3.v4), (cloud.vm1, cloud.vm5.v6), (cloud.vm4, cloud.vm2.v6)):
        assert machine.ping(address, count=3, wait=4).ok
    with cloud.route("hole", "10.1.2.14/32", kind="blackhole"):
        wait_until(lambda: not cloud.vm1.reaches(cloud.vm4.v4), 5, "the hole")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 5, "the hole to go")
    cloud.vm2.shut_down()
    cloud.vm2.boot(cloud.h3)
    cloud.cli("port", "update", "vm2", "--host", "h3", "--interface", cloud.vm2.tap)
    wait_until(lambda: cloud.vm3.reaches(cloud.vm2.v4), 10, "vm2 at h3: its new host may write where it is")
    cloud.wait_ports()


def test_an_agent_restarts_with_its_identity(guarded):
    cloud = guarded
    assert cloud.vm1.ping(cloud.vm4.v4, wait=4).ok
    with Stream(cloud.vm1, cloud.vm4, cloud.vm4.v4) as stream:
        cloud.h1.stop_agent()
        cloud.h1.start_agent()
        result = stream.stop()
    assert result.whole, result


def test_a_host_reads(guarded, intruder):
    client, own, victim = intruder
    port = guarded.json("port", "show", "vm3")["id"]
    for path in (object_path("port", port), f"/p1/h/{own}", f"/p1/h/{victim}"):
        assert client.ask("get", path)[0] is None, path


@pytest.mark.parametrize("noun, name", [("bridge", "blue"), ("router", "core"), ("port", "vm1"), ("port", "vm3"), ("host", "h1"),
                                        ("host", "h2"), ("tunnel-zone", "fabric")])
def test_a_host_cannot_write_an_object(guarded, intruder, noun, name):
    client, _, _ = intruder
    path = object_path(noun, guarded.json(noun, "show", name)["id"])
    error, before = client.ask("get", path)
    assert error is None
    for verb in ("set", "delete", "open_to_all"):
        assert client.ask(verb, path, b"mine now")[0] in (DENIED, "NotEmptyError"), verb
    assert client.ask("create", path + "/mine")[0] == DENIED
    assert client.ask("get", path) == (None, before)


def test_a_host_cannot_make_an_object(guarded, intruder):
    client, _, _ = intruder
    made = "00000000-0000-4000-8000-000000000001"
    blue = guarded.json("bridge", "show", "blue")["id"]
    for path in (f"/p1/o/bridge/{blue[:2]}/{made}", "/p1/o/bridge/zz", "/p1/o/zz", "/p1/u/zz", "/p1/zz", "/p1/log/0/e0000009999",
                 "/p1/removing/x", "/p1/q/x"):
        error, _ = client.ask("create", path)
        assert error in (DENIED, "NoNodeError"), (path, error)
    assert client.ask("create", "/p1/zz")[0] == DENIED


def test_a_host_cannot_write_what_another_host_says(guarded, intruder):
    client, _, victim = intruder
    theirs = guarded.json("port", "show", "vm3")["id"]
    paths = [f"/p1/h/{victim}", f"/p1/h/{victim}/live", f"/p1/k/{victim}", f"/p1/b/{theirs[:2]}/{theirs}"]
    for path in paths:
        assert client.ask("get", path)[0] is None, path
        for verb in ("set", "delete", "open_to_all"):
            error, _ = client.ask(verb, path, b"mine now")
            assert error in (DENIED, "NotEmptyError"), (verb, path, error)
    assert client.ask("create", f"/p1/h/{victim}/mine")[0] == DENIED


def test_a_host_writes_its_own(guarded, intruder):
    """Or the denials above would mean nothing."""
    client, own, _ = intruder
    for path in (f"/p1/h/{own}", f"/p1/k/{own}"):
        value = client.get(path)
        client.set(path, value)
        assert client.ask("open_to_all", path)[0] == DENIED


def test_a_host_does_not_see_tokens(guarded, intruder):
    client, _, _ = intruder
    guarded.ask("POST", "/v1/tokens", {"name": "ops", "role": "admin"})
    token = guarded.json("token", "show", "ops")["id"]
    assert client.ask("get", object_path("token", token))[0] == DENIED


def test_without_an_identity_nothing(guarded):
    with ZooKeeperClient(guarded) as nobody:
        for path in ("/p1/gen", object_path("bridge", guarded.json("bridge", "show", "blue")["id"])):
            for verb in ("get", "set", "delete"):
                error, _ = nobody.ask(verb, path)
                assert error in (DENIED, "NotEmptyError"), (verb, path, error)
        assert nobody.ask("create", "/p1/zz")[0] == DENIED


def test_an_agent_with_another_host_s_identity_is_refused(guarded):
    """h3's file in the hands of who says it is h1."""
    cloud = guarded
    own, _ = credentials(cloud, "h1")
    cloud.h1.stop_agent()
    options = list(cloud.h1.options)
    try:
        cloud.h1.options = ["--host-id", own, "--identity", cloud.dir / "h3.identity"]
        agent = cloud.h1.start_agent(wait=False)
        wait_until(lambda: not agent.alive(), 10, "the agent to refuse")
        said = agent.text().splitlines()[-1]
        assert own in said and credentials(cloud, "h3")[0] in said, said
    finally:
        cloud.daemons.remove(agent)
        if agent.alive():
            agent.stop()
        cloud.h1.options = options
        cloud.h1.start_agent()


def test_secrets_are_nowhere_else(guarded):
    """Not in logs, not in snapshots, not in what the command line says."""
    cloud = guarded
    secrets = [cloud.store.secret]
    for host in cloud.hosts:
        secrets += (cloud.dir / f"{host}.identity").read_text().strip().split(":")[2:]
    places = [p for p in [*(cloud.dir / "log").rglob("*"), *cloud.run_dir.rglob("*"), *cloud.dir.glob("state-*/**/*")]
              if "bpf" not in p.parts and p.is_file()]
    assert len(places) > 5
    for path in places:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, path
