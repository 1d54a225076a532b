# SPDX-License-Identifier: Apache-2.0
"""The stores that a cloud of the tests can run on, and ways to take them away for a while.

Which one: PLEXUS_TEST_STORE=embedded (when unset) or zookeeper; tests of one of them name it."""
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess

import pytest

from daemon import ROOT

ZOOKEEPER = "192.0.2.254"  # on the fabric
ZOOKEEPER_PORT = 2181


def chosen():
    return os.environ.get("PLEXUS_TEST_STORE", "embedded")


def make(kind, cloud, identities):
    if kind == "embedded":
        assert not identities, "the embedded store knows no identities"
        return EmbeddedStore(cloud)
    assert kind == "zookeeper", f"PLEXUS_TEST_STORE: {kind}?"
    return ZooKeeperStore(cloud, identities)


class EmbeddedStore:
    """A directory."""
    kind = "embedded"
    identity = None

    def __init__(self, cloud):
        self.use(cloud.dir / "store")

    def use(self, directory):
        """From now on it is this, a new directory."""
        self.directory = directory
        self.directory.mkdir()
        self.address = f"embedded:{self.directory}"

    def command(self, *command):
        """How to run a program of the control plane (not of a host)."""
        return list(command)

    def end(self):
        pass

    @contextlib.contextmanager
    def gone(self):
        """For a while nobody can open it: those that start do without. (Those that run say so until it is back.)"""
        aside = self.directory.with_name("store-aside")
        self.directory.rename(aside)
        self.directory.write_text("not a directory")
        try:
            yield
        finally:
            self.directory.unlink()
            aside.rename(self.directory)


class ZooKeeperStore:
    """A server on the fabric, where API server and agents reach it."""
    kind = "zookeeper"

    def __init__(self, cloud, identities):
        self._cloud = cloud
        self._directory = cloud.dir / "zookeeper"
        self.address = f"zookeeper:{ZOOKEEPER}:{ZOOKEEPER_PORT}"
        self.identity = None
        if not pathlib.Path("/usr/share/java/zookeeper.jar").exists() or shutil.which("java") is None:
            pytest.fail("no ZooKeeper on this machine: tools/install-packages test")
        cloud.fabric.run("ip", "addr", "add", f"{ZOOKEEPER}/24", "dev", "fabric0")
        self.start()
        if identities:
            self.secret = secrets.token_urlsafe(32)
            self.identity = cloud.dir / "api.identity"
            self.identity.write_text(f"api:{self.secret}\n")
            self.identity.chmod(0o600)

    def command(self, *command):
        return self._cloud.fabric.command(*command)

    def start(self):
        self._cloud.fabric.run(ROOT / "tools" / "zookeeper-server", "start", self._directory, ZOOKEEPER_PORT,
                               env={**os.environ, "PLEXUS_ZOOKEEPER_LISTEN": ZOOKEEPER, "PLEXUS_ZOOKEEPER_HEAP": "256m",
                                    "PLEXUS_ZOOKEEPER_TIER": "1"})

    @property
    def pid(self):
        return int((self._directory / "pid").read_text())

    def end(self):
        subprocess.run([ROOT / "tools" / "zookeeper-server", "stop", self._directory], check=False, capture_output=True)

    @contextlib.contextmanager
    def stopped(self):
        """The server is frozen for a while."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def killed(self):
        """The server is dead for a while, and then another one has its files."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def cut_off(self, host):
        """One host cannot reach the server for a while."""
        host.namespace.run("ip", "route", "add", "blackhole", f"{ZOOKEEPER}/32")
        try:
            yield
        finally:
            host.namespace.run("ip", "route", "delete", "blackhole", f"{ZOOKEEPER}/32")
