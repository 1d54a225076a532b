# SPDX-License-Identifier: Apache-2.0
"""Who a host is: one agent for each id, and each start counted."""
import contextlib
import shutil
import signal
import subprocess

import pytest

from cloud import Host, mounts_below
from daemon import Daemon

_numbers = iter(range(4, 200))


@contextlib.contextmanager
def clone_of(cloud, original, *options, state=True):
    """Another machine, h4, started from a copy of the disk of h1: its agent."""
    n = next(_numbers)
    host = Host(cloud, f"h{n}", f"192.0.2.{n}")
    run_dir = cloud.dir / f"run-{host.name}"
    run_dir.mkdir()
    if state:
        shutil.copytree(original.state_dir, host.state_dir, dirs_exist_ok=True)
    agent = Daemon(host.namespace.command(cloud.bin / "plexus-agent", "--name", original.name, "--run-dir", run_dir, "--state-dir",
                                          host.state_dir, "--store", cloud.store.address, *options),
                   cloud.dir / "log" / f"agent-{host.name}")
    try:
        yield agent
    finally:
        if agent.alive():
            agent.process.kill()
            agent.process.wait()
        host.namespace.delete()
        for mount in mounts_below(run_dir):
            subprocess.run(["umount", "-l", mount], check=False)


def undisturbed(cloud):
    assert cloud.h1.agent.alive() and cloud.h1.status()["synced"]
    assert cloud.vm1.ping(cloud.vm4.v4, wait=4).ok and cloud.vm3.ping(cloud.vm1.v6, wait=4).ok
    assert sorted(h["name"] for h in cloud.items("host")) == ["h1", "h2", "h3"]


def test_a_cloned_disk_is_refused(cloud):
    """The same host id on another machine: it ends, and names both."""
    with clone_of(cloud, cloud.h1, "--machine-id", "00000000000000000000000000c10e00") as clone:
        assert clone.wait(15) != 0
        text = clone.text()
    assert "h1" in text and "00000000000000000000000000c10e00" in text, text
    assert cloud.h1.status()["machine_id"] in text, text
    undisturbed(cloud)


def test_a_second_agent_of_one_state_directory_is_refused(cloud):
    """The same machine, another run directory."""
    run_dir = cloud.dir / "run-second"
    run_dir.mkdir(exist_ok=True)
    second = Daemon(cloud.h1.namespace.command(cloud.bin / "plexus-agent", "--name", "h1", "--run-dir", run_dir, "--state-dir",
                                               cloud.h1.state_dir, "--store", cloud.store.address), cloud.dir / "log" / "second")
    try:
        assert second.wait(15) != 0
        assert str(cloud.h1.agent.pid) in second.text() or "h1" in second.text(), second.text()
    finally:
        if second.alive():
            second.process.kill()
            second.process.wait()
        for mount in mounts_below(run_dir):
            subprocess.run(["umount", "-l", mount], check=False)
    undisturbed(cloud)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_each_start_is_counted(cloud, how):
    seen = [cloud.h1.status()["incarnation"]]
    for _ in range(3):
        cloud.h1.stop_agent(how)
        cloud.h1.start_agent()
        seen.append(cloud.h1.status()["incarnation"])
    assert seen == sorted(set(seen)), seen
    cloud.wait_ports()
    undisturbed(cloud)
