# SPDX-License-Identifier: Apache-2.0
"""Beginnings and ends: stores that are full or not there, a host that comes before its zone, leaving without a trace."""
import json
import os
import signal
import subprocess

import pytest

from cloud import CommandResult, Host, gateways, mounts_below
from daemon import ROOT, Daemon
from netns import wait_until


def run(*command, timeout=15):
    return CommandResult(subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout,
                                        check=False))


@pytest.fixture
def small_store(empty_cloud):
    """An API server on a store of 2 MB, and what fills it."""
    cloud = empty_cloud
    cloud.stop_api()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "plexus-system", cloud.store.directory], check=True)
    filler = cloud.store.directory / "filler"

    def fill():
        with open(filler, "wb", buffering=0) as f:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        f.write(bytes(size))
                except OSError:
                    pass

    try:
        cloud.start_api()
        yield cloud, fill, lambda: filler.unlink(missing_ok=True)
    finally:
        if cloud.api.alive():
            cloud.stop_api()
        if cloud.h1.agent is not None and cloud.h1.agent.alive():
            cloud.h1.stop_agent()
        subprocess.run(["umount", "-l", cloud.store.directory], check=True)
        cloud.store.use(cloud.dir / "store-after")


def test_full_disk(small_store):
    """A clear error while it is full, no harm to what is stored, and all is well when there is room again."""
    cloud, fill, free = small_store
    cloud.cli("bridge", "create", "--name", "before")
    cloud.h1.start_agent()
    fill()
    refusals = []
    for n in range(400):
        answer = cloud.cli("bridge", "create", "--name", f"b{n}", check=False)
        if answer.status != 0:
            refusals.append(answer)
            if len(refusals) == 3:
                break
    assert refusals, "the disk is full, and yet it takes them"
    for answer in refusals:
        assert answer.status == 1 and ("full" in answer.text or "space" in answer.text), answer
    assert cloud.api.alive() and cloud.h1.agent.alive()
    names = {b["name"] for b in cloud.items("bridge")}
    assert "before" in names and f"b{n}" not in names, "reading goes on"
    free()
    cloud.cli("bridge", "create", "--name", "after")
    assert {"before", "after"} <= {b["name"] for b in cloud.items("bridge")}
    assert names <= {b["name"] for b in cloud.items("bridge")}
    cloud.stop_api()
    cloud.start_api()
    assert {"before", "after"} <= {b["name"] for b in cloud.items("bridge")}
    wait_until(lambda: cloud.h1.status()["store"] == "up", 5, "the agent to see the store")


def test_full_disk_while_the_agent_starts(small_store):
    cloud, fill, free = small_store
    fill()
    agent = cloud.h1.start_agent(wait=False)
    try:
        wait_until(lambda: "full" in agent.text() or "space" in agent.text(), 10, "the agent to say it")
    finally:
        free()
    if agent.alive():
        cloud.h1.wait_ready()
    else:
        cloud.daemons.remove(agent)
        assert agent.process.returncode == 1


@pytest.mark.parametrize("program", ["plexus-api", "plexus-agent"])
@pytest.mark.parametrize("address", ["embedded:/dev/null/store", "embedded:/proc/store",
                                     "embedded:", "zookeper:127.0.0.1:2181", "nonsense"])
def test_a_store_that_cannot_be_opened(empty_cloud, program, address):
    cloud = empty_cloud
    if program == "plexus-api":
        command = [cloud.bin / program, "--store", address, "--listen", f"unix:{cloud.dir}/other.sock"]
    else:
        command = cloud.h1.namespace.command(cloud.bin / program, "--name", "h1", "--run-dir", cloud.run_dir, "--state-dir",
                                             cloud.h1.state_dir, "--store", address)
    daemon = Daemon(command, cloud.dir / "log" / f"{program}-badly")
    try:
        status = daemon.wait(10)
    finally:
        if daemon.alive():
            daemon.process.kill()
            daemon.process.wait()
    text = daemon.text()
    assert status in (1, 2), text
    assert address.removeprefix("embedded:") in text and text.count("\n") < 10, text
    cloud.h1.agent = None
    for mount in mounts_below(cloud.run_dir):
        subprocess.run(["umount", "-l", mount], check=False)


@pytest.mark.parametrize("program", ["plexus-api", "plexus-agent"])
def test_a_mistyped_store(empty_cloud, program):
    """Only the last directory is made: an agent on an empty store of its own is hard to find."""
    test_a_store_that_cannot_be_opened(empty_cloud, program, f"embedded:{empty_cloud.dir}/mistyped/path/store")


@pytest.mark.parametrize("program", ["plexus-api", "plexus-agent"])
def test_a_store_that_cannot_be_written(empty_cloud, program):
    cloud = empty_cloud
    place = cloud.dir / "read-only"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "plexus-system", place], check=True)
    try:
        test_a_store_that_cannot_be_opened(cloud, program, f"embedded:{place}/store")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_store_that_is_something_else(empty_cloud):
    """Not a database at all: said, and left alone."""
    cloud = empty_cloud
    other = cloud.dir / "other"
    other.mkdir()
    for file in cloud.store.directory.iterdir():
        if file.is_file():
            (other / file.name).write_bytes(b"these are my notes, not a database\n" * 200)
    before = {f.name: f.read_bytes() for f in other.iterdir()}
    done = run(cloud.bin / "plexus-api", "--store", f"embedded:{other}", "--listen", f"unix:{cloud.dir}/other.sock")
    assert done.status == 1 and str(other) in done.text, done
    for name, content in before.items():
        if name.endswith(".db") or "sqlite" in name:
            assert (other / name).read_bytes() == content


@pytest.mark.parametrize("arguments", [["--stroe", "x"], ["--store"], ["--log-level", "loud"], ["extra"], ["--host-id", "me"]])
def test_wrong_usage_of_the_daemons(empty_cloud, arguments):
    for program in ("plexus-api", "plexus-agent"):
        done = run(empty_cloud.bin / program, *arguments)
        assert done.status == 2 and "--help" in done.text, (program, done)


def test_help_of_the_daemons(empty_cloud):
    for program in ("plexus-api", "plexus-agent"):
        done = run(empty_cloud.bin / program, "--help")
        assert done.status == 0 and "--store" in done.out


def traces_of(host):
    """What an agent puts into a host's kernel."""
    ns = host.namespace
    found = [f"link {name}" for name in ns.links() if name.startswith("plexus")]
    for link in ns.links():
        for side in ("ingress", "egress"):
            filters = ns.run("tc", "filter", "show", "dev", link, side, check=False).stdout
            if filters.strip():
                found.append(f"{side} filter on {link}")
        if "clsact" in ns.run("tc", "qdisc", "show", "dev", link, check=False).stdout:
            found.append(f"clsact on {link}")
    found += [f"mount {m}" for m in mounts_below(host.cloud.run_dir / host.name)]
    return found


def test_leaving_removes_every_trace(own_cloud):
    cloud = own_cloud
    assert cloud.vm1.ping(cloud.vm4.v4).ok and cloud.vm3.ping(cloud.vm1.v4).ok
    assert any("plexus" in t for t in traces_of(cloud.h1)), "there is something to remove"
    assert cloud.h1.stop_agent() == 0
    assert any("filter" in t for t in traces_of(cloud.h1)), "ending alone leaves it forwarding"
    left = cloud.h1.leave()
    assert left.status == 0, left
    assert traces_of(cloud.h1) == []
    assert not [p for p in os.listdir(cloud.run_dir / "h1") if p == "bpf"] or not os.listdir(cloud.run_dir / "h1" / "bpf")
    # Its ports are nowhere: others drop at once instead of sending into the void.
    before = cloud.h2.drops("port_unbound")
    wait_until(lambda: (cloud.vm3.reaches(cloud.vm1.v4), cloud.h2.drops("port_unbound") > before)[1], 5,
               "h2 to know that vm1 is not bound")
    assert cloud.vm3.ping(cloud.vm4.v4).ok
    # Again: nothing to do is no error. And back.
    assert cloud.h1.leave().status == 0
    cloud.h1.start_agent()
    wait_until(lambda: cloud.vm1.reaches(cloud.vm4.v4), 5, "h1 to be back")
    # Killed, too.
    cloud.h1.stop_agent(signal.SIGKILL)
    assert cloud.h1.leave().status == 0
    assert traces_of(cloud.h1) == []
    cloud.h1.agent = None


def test_leaving_without_the_store(own_cloud):
    """The store may be gone for good; the kernel is clean all the same."""
    cloud = own_cloud
    cloud.h3.stop_agent()
    done = run(*cloud.h3.namespace.command(cloud.bin / "plexus-agent", "--name", "h3", "--run-dir", cloud.run_dir, "--state-dir",
                                           cloud.h3.state_dir, "--store", "embedded:/nonexistent/store", "--leave"))
    assert traces_of(cloud.h3) == [], done
    assert done.status == 0, done
    cloud.h3.agent = None


def test_ipv6_of_an_interface_is_as_before(empty_cloud):
    """What the agent changes on an interface it changes back."""
    cloud = empty_cloud
    h1 = cloud.h1
    vm = cloud.add_machine("vm", "h1", "02:00:00:00:01:11", ["10.1.1.11/24", "fd00:1::11/64"], gateways(1))
    setting = f"net.ipv6.conf.{vm.tap}.disable_ipv6"
    before = h1.namespace.run("sysctl", "-n", setting).stdout
    cloud.apply({"bridges": [{"name": "blue"}]})
    h1.start_agent()
    cloud.apply({"ports": [{"name": "vm", "bridge": "blue", "host": "h1", "interface": vm.tap}]})
    cloud.wait_ports()
    cloud.cli("port", "delete", "vm")
    cloud.wait_ports(0)
    assert h1.namespace.run("sysctl", "-n", setting).stdout == before
    assert not [t for t in traces_of(h1) if vm.tap in t]


def test_a_tunnel_zone_that_comes_later(empty_cloud):
    """Hosts are there first; the zone gives them tunnels without a restart."""
    cloud = empty_cloud
    cloud.hosts["h2"] = Host(cloud, "h2", "192.0.2.2")
    document = {"bridges": [{"name": "blue"}], "ports": []}
    for n, host in ((1, "h1"), (2, "h2")):
        cloud.hosts[host].start_agent()
        vm = cloud.add_machine(f"vm{n}", host, f"02:00:00:00:01:1{n}", [f"10.1.1.1{n}/24", f"fd00:1::1{n}/64"])
        document["ports"].append({"name": vm.name, "bridge": "blue", "host": host, "interface": vm.tap, "mac": vm.mac})
    cloud.apply(document)
    cloud.wait_ports()
    assert not cloud.vm1.reaches(cloud.vm2.v4)
    assert "tunnel" in cloud.h1.agent.text(), "it says what is missing"
    cloud.cli("tunnel-zone", "create", "--name", "fabric", "--prefixes", "192.0.2.0/24")
    wait_until(lambda: cloud.vm1.reaches(cloud.vm2.v4) and cloud.vm2.reaches(cloud.vm1.v6), 10, "the tunnel")


def test_another_vxlan_port(empty_cloud):
    cloud = empty_cloud
    cloud.cli("tunnel-zone", "create", "--name", "fabric", "--prefixes", "192.0.2.0/24", "--udp-port", "8472")
    cloud.hosts["h2"] = Host(cloud, "h2", "192.0.2.2")
    document = {"bridges": [{"name": "blue"}], "ports": []}
    for n, host in ((1, "h1"), (2, "h2")):
        cloud.hosts[host].start_agent()
        vm = cloud.add_machine(f"vm{n}", host, f"02:00:00:00:01:1{n}", [f"10.1.1.1{n}/24", f"fd00:1::1{n}/64"])
        document["ports"].append({"name": vm.name, "bridge": "blue", "host": host, "interface": vm.tap, "mac": vm.mac})
    cloud.apply(document)
    cloud.wait_ports()
    with cloud.h1.uplink_capture() as capture:
        wait_until(lambda: cloud.vm1.reaches(cloud.vm2.v4), 5, "vm2")
        assert capture.matching(lambda f: f[36:38] == (8472).to_bytes(2, "big"))


def test_an_ipv6_underlay(empty_cloud):
    cloud = empty_cloud
    cloud.cli("tunnel-zone", "create", "--name", "fabric", "--prefixes", "2001:db8:ff::/64")
    cloud.hosts["h2"] = Host(cloud, "h2", "192.0.2.2")
    document = {"bridges": [{"name": "blue"}], "ports": []}
    for n, host in ((1, "h1"), (2, "h2")):
        cloud.hosts[host].namespace.run("ip", "addr", "add", f"2001:db8:ff::{n}/64", "dev", "uplink", "nodad")
        cloud.hosts[host].start_agent()
        vm = cloud.add_machine(f"vm{n}", host, f"02:00:00:00:01:1{n}", [f"10.1.1.1{n}/24", f"fd00:1::1{n}/64"])
        document["ports"].append({"name": vm.name, "bridge": "blue", "host": host, "interface": vm.tap, "mac": vm.mac})
    cloud.apply(document)
    cloud.wait_ports()
    wait_until(lambda: cloud.vm1.reaches(cloud.vm2.v4), 5, "vm2")
    assert cloud.vm1.ping(cloud.vm2.v4, count=3, size=1472, whole=True).ok
    assert cloud.vm1.ping(cloud.vm2.v6, count=3, size=3000).ok


def test_a_cloud_file_is_deleted_again(own_cloud):
    """All of the quickstart's kind of cloud goes in one command, and nothing forwards any more."""
    cloud = own_cloud
    exported = {n: cloud.items(n) for n in ("bridge", "router", "port")}
    document = {"bridges": [{"name": b["name"]} for b in exported["bridge"]],
                "routers": [{"name": r["name"]} for r in exported["router"]],
                "ports": [{"name": p["name"], **({"bridge": "blue"} if "bridge" in p else {"router": "core"})}
                          for p in exported["port"]]}
    done = cloud.cli("delete", "-f", "-", text=json.dumps(document))
    assert done.status == 0
    for noun in ("bridge", "router", "port", "route"):
        assert cloud.items(noun) == []
    cloud.wait_ports(0)
    assert not cloud.vm1.reaches(cloud.vm2.v4) and not cloud.vm1.reaches(cloud.vm4.v6)
    # What drops by what never was may stay until it is idle.
    assert [(h.name, f) for h in cloud.hosts.values() for f in h.flows() if not f["actions"].startswith("drop")] == []


def test_quickstart_down_is_idempotent(tmp_path):
    """Nothing there, twice: fine both times."""
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    if any(n in names for n in ("plexus-h1", "plexus-fabric", "plexus-vm1")):
        pytest.skip("a quickstart cloud is running on this machine; 'down' would take it away")
    environment = {**os.environ, "PLEXUS_QUICKSTART_DIR": str(tmp_path / "cloud")}
    for _ in range(2):
        done = CommandResult(subprocess.run([ROOT / "quickstart", "down"], capture_output=True, text=True, env=environment,
                                            timeout=30, check=False))
        assert done.status == 0, done
    assert not (tmp_path / "cloud").exists()
