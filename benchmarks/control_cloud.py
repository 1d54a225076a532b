# SPDX-License-Identifier: Apache-2.0
"""The control plane under test, as users run it: a store, an API server, agents with the datapath that is only memory.

All of it in one network namespace, on its loopback interface. Clients keep their connections, so that what is measured
is not the making of one."""
import http.client
import json
import os
import pathlib
import re
import socket
import time

from lab import RUN_DIR, BenchError, run, stop, wait_until
from path import BUILD, require

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLOUD_DIR = f"{RUN_DIR}/control"  # all but the logs
ZOOKEEPER_PORT = 2181  # of the namespace's own loopback


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    """What a server said, and when it was asked and had said it (CLOCK_MONOTONIC, ns)."""

    def __init__(self, status, headers, body, asked, answered):
        self.status, self.headers, self.body, self.asked, self.answered = status, headers, body, asked, answered

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def revision(self):
        return self.headers.get("Plexus-Revision")


class Client:
    """One kept connection to a unix socket."""

    def __init__(self, path, timeout=60):
        self._connection = _UnixConnection(path, timeout)

    def ask(self, method, path, body=None, expect=(200, 201)):
        text = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        for again in (True, False):
            asked = time.monotonic_ns()
            try:
                self._connection.request(method, path, text, headers)
                response = self._connection.getresponse()
                data = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A connection that was silent for long has been closed at the other end.
                if not again or not isinstance(error, (BrokenPipeError, ConnectionResetError)):
                    raise BenchError(f"{method} {path}: {error}") from error
        answer = Answer(response.status, response.headers, data, asked, time.monotonic_ns())
        if expect is not None and answer.status not in expect:
            raise BenchError(f"{method} {path}: {answer.status} {data[:300].decode(errors='replace')}")
        return answer

    def get(self, path):
        return self.ask("GET", path).json

    def close(self):
        self._connection.close()


class Agent:
    """A running plexus-agent, and questions to it."""

    def __init__(self, name, process):
        self.name, self.process = name, process
        self._client = Client(f"{CLOUD_DIR}/{name}/agent.sock")

    def status(self):
        return self._client.get("/v1/status")

    def ready(self):
        try:
            return self.status()["synced"]
        except BenchError:
            if self.process.poll() is not None:
                raise BenchError(f"the agent of {self.name} ended: {_tail(f'agent-{self.name}')}") from None
            return False

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024


def _tail(log, size=600):
    try:
        return pathlib.Path(f"{RUN_DIR}/log/{log}").read_text(errors="replace")[-size:]
    except OSError:
        return "no log"


def have_zookeeper():
    return os.path.isdir("/usr/share/zookeeper") or os.path.exists("/usr/share/java/zookeeper.jar")


def have_fake_datapath():
    return "--datapath" in run(require("plexus-agent"), "--help", check=False)


class ControlCloud:
    """Use as a context manager: leaving it ends its processes and removes its namespace."""

    def __init__(self, lab, store, cpu="0-1"):
        self._lab, self.kind, self._cpu = lab, store, cpu
        self._dir = f"{CLOUD_DIR}/store"
        self._api_socket = f"{CLOUD_DIR}/api.sock"
        self.agents, self._processes, self._zookeeper = [], [], None
        self.environment = {"PLEXUS_API": f"unix:{self._api_socket}", "PLEXUS_RUN": CLOUD_DIR}

    def __enter__(self):
        os.environ |= self.environment
        os.makedirs(self._dir)
        self.netns = self._lab.namespace("control")
        # One address of the fabric, which all hosts call their own: nothing is sent to it.
        run("ip", "addr", "add", "192.0.2.1/32", "dev", "lo", netns=self.netns)
        try:
            self.address = f"embedded:{self._dir}"
            if self.kind == "zookeeper":
                self._start_zookeeper()
            self.start_api()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            stop(process)
        self._processes, self.agents = [], []
        if self._zookeeper is not None:
            run(*self._zookeeper, "stop", self._dir, check=False)
        run("ip", "netns", "delete", self.netns, check=False)
        # A filesystem of pinned maps lives as long as its mount.
        for mount in pathlib.Path(CLOUD_DIR).glob("*/bpf"):
            run("umount", str(mount), check=False)
        run("rm", "-rf", "--one-file-system", CLOUD_DIR)

    def _start_zookeeper(self):
        self._zookeeper = (str(ROOT / "tools/zookeeper-server"),)
        self.address = f"zookeeper:127.0.0.1:{ZOOKEEPER_PORT}"
        run(*self._zookeeper, "start", self._dir, str(ZOOKEEPER_PORT), netns=self.netns)

    def start_api(self):
        self.api_process = self._start("api", f"{BUILD}/bin/plexus-api", "--store", self.address, "--listen",
                                       self.environment["PLEXUS_API"])
        self.api = Client(self._api_socket)

        def answers():
            if self.api_process.poll() is not None:
                raise BenchError(f"plexus-api ended: {_tail('api')}")
            try:
                self.api.get("/v1/bridges")
                return True
            except BenchError:
                return False
        wait_until("the API", 15, answers)
        if not self.api.get("/v1/tunnel-zones")["items"]:
            self.api.ask("POST", "/v1/tunnel-zones", {"name": "fabric", "prefixes": ["192.0.2.0/24"]})

    def _start(self, name, *command):
        process = self._lab.start(name, *command, netns=self.netns, cpu=self._cpu)
        self._processes.append(process)
        return process

    def start_agents(self, count):
        """Starts agents h1 to h<count> with the fake datapath and waits until they are in the store."""
        for n in range(1, count + 1):
            name = f"h{n}"
            os.makedirs(f"{CLOUD_DIR}/state-{name}", exist_ok=True)
            process = self._start(f"agent-{name}", require("plexus-agent"), "--name", name, "--run-dir", CLOUD_DIR,
                                  "--state-dir", f"{CLOUD_DIR}/state-{name}", "--store", self.address,
                                  "--datapath", "fake", "--log-level", "warn")
            self.agents.append(Agent(name, process))
        wait_until("all agents ready", 60, lambda: all(agent.ready() for agent in self.agents))
        # They know what the store holds before the store knows them.
        wait_until("all hosts registered", 60, lambda: len(self.api.get("/v1/hosts")["items"]) >= count)

    def start_swarm(self, count, raw=False):
        """As many hosts that only register, live and answer barriers; returns the process when all are live. `raw`: they
        are nothing but what they say and hear on the wire."""
        pathlib.Path(f"{RUN_DIR}/log/swarm").unlink(missing_ok=True)
        process = self._start("swarm", require("plexus-bench-swarm"), "raw-hosts" if raw else "hosts", "--store", self.address, "--count", str(count))

        def live():
            if process.poll() is not None:
                raise BenchError(f"the swarm ended: {_tail('swarm')}")
            return "ready" in _tail("swarm")
        wait_until(f"{count} hosts live", 300, live)
        return process

    def create_hosts(self, count):
        """Hosts as data only: nobody runs there."""
        for n in range(1, count + 1):
            self.api.ask("POST", "/v1/hosts", {"name": f"h{n}"})

    def apply(self, path):
        """Applies a cloud file by the command line: (seconds, what it said)."""
        start = time.monotonic()
        said = run(require("plexus"), "--timeout", "60", "apply", "-f", path, timeout=900)
        return time.monotonic() - start, said.strip().splitlines()[-1]

    def settle(self, ports, seconds=600, still=0.5):
        """Waits until so many ports are plugged in, all agents together, and no agent has had news for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            states = [agent.status() for agent in self.agents]
            newest = max(state["applied_at_ns"] for state in states)
            active = sum(state["ports_active"] for state in states)
            if active == ports and time.monotonic_ns() - newest > still * 1e9 and all(s["epoch"] == s["applied_epoch"] for s in states):
                return states
            time.sleep(still / 2)
        raise BenchError(f"the agents did not come to rest within {seconds} s: {active} of {ports} ports are active")

    def received(self):
        """Bytes that each agent has had from the store so far, by name: on ZooKeeper's connections; of the embedded store,
        which has none, of paths and records that it reported."""
        if self.kind != "zookeeper":
            return {agent.name: agent.status()["received_bytes"] for agent in self.agents}
        out = run("ss", "-tinpH", f"dport = :{ZOOKEEPER_PORT}", netns=self.netns)
        by_pid = {}
        for owner, details in re.findall(r"^(ESTAB.*)\n\s+(.*)$", out, re.M):
            pid = re.search(r"pid=(\d+)", owner)
            got = re.search(r"bytes_received:(\d+)", details)
            if pid:
                by_pid[int(pid[1])] = by_pid.get(int(pid[1]), 0) + (int(got[1]) if got else 0)
        return {agent.name: by_pid.get(agent.process.pid, 0) for agent in self.agents}

    def read_from_files(self):
        """Bytes that each agent has read from files so far, by name: of the embedded store, pages of its database."""
        return {agent.name: _read_chars(agent.process.pid) for agent in self.agents}


def _read_chars(pid):
    with open(f"/proc/{pid}/io", encoding="utf-8") as file:
        return int(re.search(r"rchar: (\d+)", file.read())[1])
