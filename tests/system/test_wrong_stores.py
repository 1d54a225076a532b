# SPDX-License-Identifier: Apache-2.0
"""Stores that are empty, half loaded or not there, hosts that are removed while they run: agents keep what they forward and say what is
wrong. No packets here: the datapath is the one in memory."""
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess

import pytest

from daemon import Daemon, programs
from netns import wait_until


class Site:
    """An API server and an agent h1 with one machine."""

    def __init__(self, directory):
        self.dir = directory
        self.store = f"embedded:{directory}/store"
        self.environment = {**os.environ, "PLEXUS_API": f"unix:{directory}/api.sock", "PLEXUS_RUN": str(directory / "run")}
        self.daemons = []
        self.api = self.start("plexus-api", "--store", self.store, "--listen", f"unix:{directory}/api.sock")
        wait_until(lambda: self.cli("bridge", "list", check=False).returncode == 0, 20, "the API server")
        self.agent = self.start_agent()
        wait_until(lambda: self.status().get("registered"), 20, "the agent to register")
        self.cli("bridge", "create", "--name", "blue")
        self.cli("port", "create", "--name", "vm", "--bridge", "blue", "--host", "h1", "--interface", "tap0")
        wait_until(self.is_plugged, 20, "the port")
        wait_until(lambda: self.bindings() == 1, 20, "the port to be known to be here")

    def start(self, program, *arguments):
        daemon = Daemon([programs() / program, *arguments], self.dir / f"log-{program}-{len(self.daemons)}")
        self.daemons.append(daemon)
        return daemon

    def agent_options(self, *more):
        return ["--store", self.store, "--name", "h1", "--run-dir", self.dir / "run", "--state-dir", self.dir / "state",
                "--machine-id", "m1", "--datapath", "fake", *more]

    def start_agent(self, *more):
        return self.start("plexus-agent", *self.agent_options(*more))

    def run(self, *command, text=None, check=True):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, input=text, timeout=60, check=False,
                              env=self.environment)
        assert not check or done.returncode == 0, done
        return done

    def cli(self, *arguments, check=True):
        return self.run(programs() / "plexus", *arguments, check=check)

    def tool(self, *arguments, text=None, check=True):
        return self.run(programs() / "plexus-store", "--store", self.store, *arguments, text=text, check=check)

    def status(self):
        done = self.cli("agent", "status", "--host", "h1", "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def is_plugged(self):
        done = self.cli("agent", "ports", "--host", "h1", "--json", check=False)
        return done.returncode == 0 and any(p["interface"] == "tap0" for p in json.loads(done.stdout)["ports"])

    def bindings(self):
        done = subprocess.run(["curl", "-sS", "--unix-socket", self.dir / "api.sock", "http://localhost/v1/status/bindings"],
                              capture_output=True, text=True, check=True, timeout=30)
        return sum(bool(b.get("active")) for b in json.loads(done.stdout)["items"])

    def host_id(self):
        return (self.dir / "state" / "host-id").read_text().strip()

    def unplugs(self):
        return self.agent.text().count("unplugged")

    def keep_snapshot(self):
        wait_until(lambda: self.status().get("snapshot_bytes"), 30, "a disk snapshot")

    def tear_down(self):
        for daemon in self.daemons:
            daemon.stop()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.tear_down()


def test_an_agent_that_has_worked_does_not_begin_an_empty_store(site):
    site.keep_snapshot()
    for daemon in (site.agent, site.api):
        daemon.stop()
    (site.dir / "store").rename(site.dir / "unmounted")
    (site.dir / "store").mkdir()
    site.agent = site.start_agent()
    wait_until(site.is_plugged, 20, "the port from the snapshot")
    wait_until(lambda: "is empty" in site.agent.text(), 20, "the agent to say so")
    # What it would have read by now is that there is nothing.
    wait_until(lambda: site.status().get("store") == "up", 20, "the store to be open")
    with pytest.raises(AssertionError):
        wait_until(lambda: not site.is_plugged() or site.unplugs(), 5)
    assert site.agent.text().count("is empty") == 1, "said once"
    assert site.tool("check", check=False).returncode == 1, "nothing was written there"
    site.agent.stop()
    shutil.rmtree(site.dir / "store")
    (site.dir / "unmounted").rename(site.dir / "store")
    site.agent = site.start_agent()
    wait_until(lambda: site.status().get("registered"), 20, "the agent to be back")
    assert site.is_plugged()


def half_load(store):
    """As an interrupted load leaves it: the mark, and nothing of what was there."""
    with contextlib.closing(sqlite3.connect(store / "store.db", timeout=20, isolation_level=None)) as db:
        def commit(sql, paths):
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
            revision = db.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()[0]
            for path in paths:
                db.execute(sql, {"path": path, "revision": revision})
                db.execute("INSERT INTO log(revision, path) VALUES(?, ?)", (revision, path))
            db.execute("COMMIT")
        commit("INSERT INTO rec(path, version, revision, value) VALUES(:path, 1, :revision, x'')", ["/p1/loading"])
        paths = [row[0] for row in db.execute("SELECT path FROM rec") if row[0] not in ("/p1/loading", "/p1/gen")]
        commit("DELETE FROM rec WHERE path = :path AND :revision > 0", paths)


def test_a_load_that_is_not_finished_yet(site):
    dump = site.tool("dump").stdout
    site.keep_snapshot()
    half_load(site.dir / "store")
    wait_until(lambda: "a dump is being loaded" in site.agent.text(), 20, "the agent to notice")
    refused = wait_until(lambda: (lambda done: done.returncode != 0 and done)(
        site.cli("bridge", "create", "--name", "lost", check=False)), 20, "the API to refuse changes")
    assert "a dump is being loaded" in refused.stderr, refused
    site.start("plexus-api", "--store", site.store, "--listen", f"unix:{site.dir}/second.sock")
    wait_until(lambda: "a dump is being loaded" in site.daemons[-1].text(), 20, "one that starts meanwhile to warn")
    # One that starts meanwhile has its snapshot, and leaves the store alone.
    site.agent.stop()
    site.agent = site.start_agent()
    wait_until(site.is_plugged, 20, "the port from the snapshot")
    with pytest.raises(AssertionError):
        wait_until(lambda: not site.is_plugged() or site.unplugs() or site.status()["registered"], 5)
    assert site.agent.text().count("a dump is being loaded") == 1, "said once"
    loaded = site.tool("load", "--force", text=dump)
    assert "no problems" in loaded.stdout, loaded
    wait_until(lambda: site.status().get("registered"), 20, "the agent to be registered")
    wait_until(lambda: site.bindings() == 1, 20, "the port to be known to be here")
    assert site.is_plugged() and site.unplugs() == 0, site.agent.text()
    # They read and write on.
    wait_until(lambda: site.cli("bridge", "create", "--name", "found", check=False).returncode == 0, 20, "the API to take changes")
    site.cli("port", "create", "--name", "vm2", "--bridge", "blue", "--host", "h1", "--interface", "tap1")
    wait_until(lambda: site.bindings() == 2, 20, "the next port")


def test_loads_while_an_agent_runs(site):
    dump = site.tool("dump").stdout
    for n in range(5):
        loaded = site.tool("load", "--force", text=dump)
        assert "no problems" in loaded.stdout, (n, loaded)
        wait_until(lambda: site.bindings() == 1, 20, "the port to be known to be here")
    assert site.is_plugged() and site.unplugs() == 0, site.agent.text()


def test_a_host_that_was_removed_while_it_runs_comes_back(site):
    site.cli("port", "delete", "vm")
    wait_until(lambda: site.bindings() == 0, 20, "the port to go")
    site.cli("host", "delete", "h1", "--yes")
    wait_until(lambda: "was removed from the store" in site.agent.text(), 20, "the agent to say so")
    wait_until(lambda: not site.status()["registered"], 20, "the status to say so")
    site.cli("host", "create", "--name", "h1", "--id", site.host_id())
    wait_until(lambda: site.status()["registered"], 20, "the agent to be registered again")
    site.cli("port", "create", "--name", "vm", "--bridge", "blue", "--host", "h1", "--interface", "tap0")
    wait_until(lambda: site.bindings() == 1, 20, "the port to be known to be here")


def test_leaving_says_what_it_could_not_do(site):
    site.agent.stop()
    (site.dir / "store").rename(site.dir / "aside")
    failed = site.run(programs() / "plexus-agent", *site.agent_options("--leave"), check=False)
    assert failed.returncode == 1 and "still says that ports are at this host" in failed.stderr, failed
    assert not (site.dir / "store").exists()
    (site.dir / "aside").rename(site.dir / "store")
    mistyped = site.run(programs() / "plexus-agent", *site.agent_options("--leave", "--state-dir", site.dir / "stat"), check=False)
    assert mistyped.returncode == 1 and "host-id" in mistyped.stderr, mistyped
    assert not (site.dir / "stat").exists()
    site.run(programs() / "plexus-agent", *site.agent_options("--leave"))
    assert site.bindings() == 0


def test_the_agents_own_interfaces_are_refused(site):
    refused = site.cli("port", "create", "--name", "vx", "--bridge", "blue", "--host", "h1", "--interface", "plexus-vx0", check=False)
    assert refused.returncode != 0 and "plexus-" in refused.stderr, refused
