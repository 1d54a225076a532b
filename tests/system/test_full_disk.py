# SPDX-License-Identifier: Apache-2.0
"""The disk of an agent is full: it keeps the snapshot it has, says so, and forwards."""
import signal
import subprocess

import pytest

from netns import wait_until


@pytest.fixture
def small_disk(own_embedded_cloud):
    """h1's agent on a state directory of 1 MB; what fills it, and what makes room."""
    cloud = own_embedded_cloud
    cloud.h1.stop_agent()
    keep = (cloud.h1.state_dir / "host-id").read_text()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "plexus-system", cloud.h1.state_dir], check=True)
    (cloud.h1.state_dir / "host-id").write_text(keep)
    filler = cloud.h1.state_dir / "filler"

    def fill():
        with open(filler, "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    try:
        cloud.h1.start_agent()
        yield cloud, fill, filler.unlink
    finally:
        if cloud.h1.agent.alive():
            cloud.h1.stop_agent()
        subprocess.run(["umount", "-l", cloud.h1.state_dir], check=True)
        (cloud.h1.state_dir / "host-id").write_text(keep)


def test_full_disk(small_disk):
    cloud, fill, free = small_disk
    wait_until(lambda: cloud.h1.status().get("snapshot_bytes"), 20, "the first snapshot")
    kept = cloud.h1.status()["snapshot_revision"]
    files = {p.name: p.read_bytes() for p in cloud.h1.state_dir.iterdir() if p.is_file()}
    fill()
    assert cloud.vm1.ping(cloud.vm6.v4, wait=4).ok
    cloud.cli("route", "create", "--name", "hole", "--router", "core", "--destination", "10.1.2.16/32", "--kind", "blackhole")
    wait_until(lambda: not cloud.vm1.reaches(cloud.vm6.v4), 5, "the change to arrive all the same")
    trouble = wait_until(lambda: cloud.h1.status().get("snapshot_trouble"), 20, "the agent to say what is wrong")
    assert "space" in trouble, trouble
    assert any("space" in line for line in cloud.h1.agent.text().splitlines()), "the log says it, too"
    assert cloud.h1.status()["snapshot_revision"] == kept
    assert all((cloud.h1.state_dir / name).read_bytes() == content for name, content in files.items() if "snapshot" in name)
    assert cloud.vm1.ping(cloud.vm4.v4, count=3, wait=4).ok and cloud.vm2.ping(cloud.vm3.v6, count=3, wait=4).ok
    # It starts again on the full disk; without the store from the snapshot that it could keep.
    with cloud.store.gone():
        cloud.h1.stop_agent(signal.SIGKILL)
        cloud.h1.start_agent()
        assert "disk snapshot" in cloud.h1.status()["topology"]
        wait_until(lambda: cloud.vm2.reaches(cloud.vm4.v6), 5, "new flows from the old snapshot")
        assert cloud.vm1.reaches(cloud.vm4.v4, 4)
    wait_until(lambda: not cloud.vm1.reaches(cloud.vm6.v4), 20, "the hole, when the store is back")
    free()
    cloud.stop_api()  # its view of the moved directory may be an old one
    cloud.start_api()
    cloud.cli("route", "delete", "hole")
    wait_until(lambda: cloud.h1.status().get("snapshot_revision", kept) != kept, 30, "a newer snapshot")
    assert "snapshot_trouble" not in cloud.h1.status()
