# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a cloud for each module, and what its daemons logged beside each failure."""
import os
import pathlib
import subprocess

import pytest

from cloud import Cloud, mounts_below, two_switches
from daemon import programs
from netns import PREFIX

_current = pytest.StashKey()
_failed = pytest.StashKey()


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than some seconds; run by ./test long")
    config.stash[_current] = None


def pytest_sessionstart(session):
    """Removes what an earlier run left that was killed."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        pid = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            subprocess.run(["ip", "netns", "delete", name], check=False)
    for path in pathlib.Path("/tmp").glob(PREFIX + "*"):
        pid = path.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            for mount in mounts_below(path):
                subprocess.run(["umount", "-l", mount], check=False)
            subprocess.run(["rm", "-rf", "--one-file-system", path], check=False)


@pytest.fixture(scope="session", autouse=True)
def needs():
    if os.geteuid() != 0:
        pytest.fail("system tests make namespaces: they need root")
    for program in ("plexus", "plexus-agent", "plexus-api"):
        if not os.access(programs() / program, os.X_OK):
            pytest.fail(f"{programs() / program} is missing: build it first")


def _kept(request, made):
    before = request.config.stash[_current]
    request.config.stash[_current] = made
    yield made
    request.config.stash[_current] = before
    made.tear_down()


class _Shared:
    """The cloud of a module; a new one after a failure, so that one failure stays one."""

    def __init__(self):
        self.cloud = None
        self.spoilt = False

    def get(self):
        if self.cloud is not None and self.spoilt:
            self.end(checked=False)
        if self.cloud is None:
            self.cloud = two_switches()
        self.spoilt = False
        return self.cloud

    def end(self, checked=True):
        cloud, self.cloud = self.cloud, None
        if cloud is not None:
            cloud.tear_down(checked)


@pytest.fixture(scope="module")
def _shared_cloud():
    shared = _Shared()
    yield shared
    shared.end(checked=not shared.spoilt)


@pytest.fixture
def cloud(request, _shared_cloud):
    """Two switches, a router, six machines on three hosts. A test that changes it changes it back."""
    made = _shared_cloud.get()
    request.config.stash[_current] = made
    yield made
    request.config.stash[_current] = None
    _shared_cloud.spoilt = request.node.stash.get(_failed, False)


@pytest.fixture
def own_cloud(request):
    """A cloud of two_switches() for one test that breaks it."""
    yield from _kept(request, two_switches())


@pytest.fixture
def empty_cloud(request):
    """One host without an agent, no tunnel zone, nothing in the store, which is a directory."""
    yield from _kept(request, Cloud(hosts=1, zone=False, start=False, store="embedded"))


@pytest.fixture
def own_zookeeper_cloud(request):
    """As own_cloud, on ZooKeeper whatever PLEXUS_TEST_STORE says."""
    yield from _kept(request, two_switches(store="zookeeper"))


@pytest.fixture
def own_embedded_cloud(request):
    """As own_cloud, on the embedded store whatever PLEXUS_TEST_STORE says."""
    yield from _kept(request, two_switches(store="embedded"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    cloud = item.config.stash[_current]
    if report.failed:
        item.stash[_failed] = True
    if report.when != "call" or not report.failed or cloud is None:
        return
    for log in sorted((cloud.dir / "log").iterdir()):
        text = log.read_text(errors="replace").splitlines()
        if text:
            report.sections.append((f"last lines of {log.name}", "\n".join(text[-25:])))
