# SPDX-License-Identifier: Apache-2.0
"""A cloud on this machine: a fabric, hosts with agents, machines, an API server; each host and machine a namespace."""
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from daemon import Daemon, programs
from netns import PREFIX, Capture, Namespace, Pinger, RawPort, ping, wait_until
import stores

_numbers = itertools.count(1)


class CommandResult:
    """What a command said."""

    def __init__(self, done):
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def text(self):
        return self.out + self.err

    def __repr__(self):
        return f"<exit status {self.status}>\n{self.text}"


class Machine:
    """A virtual machine: a namespace with eth0, whose other end is on its host."""

    def __init__(self, cloud, name, host, mac, addresses, routes=()):
        self.cloud, self.name, self.mac, self.host = cloud, name, mac, host
        self.tap = f"tap-{name}"
        self.addresses, self.routes = list(addresses), list(routes)
        self.namespace = None
        self.boot()

    @property
    def v4(self):
        return next(a for a in self.addresses if ":" not in a).split("/")[0]

    @property
    def v6(self):
        return next(a for a in self.addresses if ":" in a).split("/")[0]

    def boot(self, host=None):
        """Starts on a host: what a hypervisor does."""
        self.host = host or self.host
        self.namespace = Namespace(self.cloud.namespace_name(self.name))
        self.plug()

    def plug(self):
        ns = self.namespace
        self.host.namespace.run("ip", "link", "add", self.tap, "type", "veth", "peer", "name",
                                "eth0", "address", self.mac, "netns", ns.name)
        batch = [f"addr add {a} dev eth0" + (" nodad" if ":" in a else "") for a in self.addresses]
        batch += ["link set eth0 up"]
        batch += [f"route add default via {r}" for r in self.routes]
        self.host.namespace.run("ip", "link", "set", self.tap, "up")
        ns.run("ip", "-batch", "-", input="\n".join(batch) + "\n")

    def unplug(self):
        self.host.namespace.run("ip", "link", "delete", self.tap)

    def shut_down(self):
        self.host.namespace.run("ip", "link", "delete", self.tap, check=False)
        self.namespace.delete()

    def run(self, *arguments, **options):
        return self.namespace.run(*arguments, **options)

    def ping(self, address, **options):
        return ping(self.namespace, address, **options)

    def pinger(self, address, interval=0.02):
        return Pinger(self.namespace, address, interval)

    def reaches(self, address, wait=0.3):
        return self.ping(address, wait=wait).ok

    def capture(self, incoming=True):
        return Capture(self.namespace, "eth0", incoming)

    def raw(self):
        return RawPort(self.namespace, "eth0")


class Host:
    """A hypervisor: a namespace with an uplink, and an agent."""

    def __init__(self, cloud, name, underlay):
        self.cloud, self.name, self.underlay = cloud, name, underlay
        self.namespace = Namespace(cloud.namespace_name(name))
        self.agent = None
        self.state_dir = cloud.dir / f"state-{name}"
        self.state_dir.mkdir()
        self.options = []  # of its agent, beside the usual ones
        # 1,700 bytes on the fabric leave the machines their 1,500.
        cloud.fabric.run("ip", "link", "add", f"to-{name}", "mtu", 1700, "type", "veth", "peer", "name", "uplink", "mtu",
                         1700, "netns", self.namespace.name)
        cloud.fabric.run("ip", "link", "set", f"to-{name}", "master", "fabric0", "up")
        self.namespace.run("ip", "addr", "add", f"{underlay}/24", "dev", "uplink")
        self.namespace.run("ip", "link", "set", "uplink", "up")

    def agent_command(self, *extra):
        return self.namespace.command(self.cloud.bin / "plexus-agent", "--name", self.name, "--run-dir",
                                      self.cloud.run_dir, "--state-dir", self.state_dir, "--store",
                                      self.cloud.store.address, *self.options, *extra)

    def start_agent(self, wait=True):
        self.agent = Daemon(self.agent_command(), self.cloud.dir / "log" / f"agent-{self.name}")
        self.cloud.daemons.append(self.agent)
        if wait:
            self.wait_ready()
        return self.agent

    def wait_ready(self, timeout=15):
        wait_until(self._ready, timeout, f"the agent of {self.name} to be ready", 0.05)

    def _ready(self):
        assert self.agent.alive(), f"the agent of {self.name} ended:\n{self.agent.text()}"
        answer = self.cloud.cli("agent", "status", "--host", self.name, "--json", check=False)
        return answer.status == 0 and json.loads(answer.out)["synced"]

    def stop_agent(self, how=signal.SIGTERM):
        status = self.agent.stop(how)
        self.cloud.daemons.remove(self.agent)
        return status

    def status(self):
        return self.cloud.json("agent", "status", "--host", self.name)

    def drops(self, reason=None):
        drops = self.status()["drops"]
        return drops if reason is None else drops.get(reason, 0)

    def ports(self):
        return {p["name"]: p for p in self.cloud.json("agent", "ports", "--host", self.name)["ports"]}

    def flows(self):
        return self.cloud.json("flows", "--host", self.name)["flows"]

    def leave(self):
        return CommandResult(subprocess.run(self.agent_command("--leave", "--log-level", "warn"), capture_output=True,
                                            text=True, timeout=30, check=False))

    def uplink_capture(self):
        """What this host sends into the fabric."""
        return Capture(self.cloud.fabric, f"to-{self.name}", incoming=True)


class Cloud:
    """store: "embedded", "zookeeper", or what PLEXUS_TEST_STORE says; identities: everybody proves who he is to it."""

    def __init__(self, hosts=3, zone=True, start=True, store=None, identities=False):
        self.bin = programs()
        self.tag = f"{os.getpid()}-{next(_numbers)}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX + self.tag + "-"))
        self.run_dir = self.dir / "run"
        for d in (self.run_dir, self.dir / "log"):
            d.mkdir()
        self.environment = {**os.environ, "PLEXUS_API": f"unix:{self.dir}/api.sock", "PLEXUS_RUN": str(self.run_dir)}
        self.daemons, self.hosts, self.machines = [], {}, {}
        self.api = self.store = None
        self.problems = []
        self.fabric = Namespace(self.namespace_name("fabric"))
        try:
            self.fabric.run("ip", "link", "add", "fabric0", "type", "bridge", "mcast_snooping", "0")
            self.fabric.run("ip", "link", "set", "fabric0", "up")
            self.store = stores.make(store or stores.chosen(), self, identities)
            self.start_api()
            if zone:
                self.cli("tunnel-zone", "create", "--name", "fabric", "--prefixes", "192.0.2.0/24")
            for n in range(1, hosts + 1):
                self.hosts[f"h{n}"] = Host(self, f"h{n}", f"192.0.2.{n}")
                if identities:
                    self.give_identity(self.hosts[f"h{n}"])
            if start:
                for host in self.hosts.values():
                    host.start_agent(wait=False)
                for host in self.hosts.values():
                    host.wait_ready()
                # An agent may have read the store before it is registered there.
                wait_until(lambda: len(self.items("host")) == hosts, 15, "all hosts to be registered", 0.05)
        except BaseException:
            self.problems.append("the cloud did not come up")
            self.print_logs()
            self.tear_down(checked=False)
            raise

    def namespace_name(self, name):
        return f"{PREFIX}{self.tag}-{name}"

    def __getattr__(self, name):
        """cloud.h1, cloud.vm1"""
        for things in (self.__dict__.get("hosts", {}), self.__dict__.get("machines", {})):
            if name in things:
                return things[name]
        raise AttributeError(name)

    # ---- control plane ----

    def start_api(self):
        self.api = self.another_api(self.environment["PLEXUS_API"], "api")
        self.daemons.append(self.api)

        def answers():
            assert self.api.alive(), f"the API server ended:\n{self.api.text()}"
            return self.cli("bridge", "list", check=False).status == 0
        wait_until(answers, 10, "the API server to answer")

    def another_api(self, listen, log, *options):
        """Starts an API server; it is not waited for, nor stopped with the cloud."""
        if self.store.identity is not None:
            options = ("--identity", self.store.identity, *options)
        return Daemon(self.store.command(self.bin / "plexus-api", "--store", self.store.address, "--listen", listen,
                                         *options), self.dir / "log" / log)

    def give_identity(self, host):
        """Makes the host known, and gives it the file that proves who it is."""
        host_id = self.json("host", "create", "--name", host.name)["id"]
        answer = self.ask("POST", f"/v1/hosts/{host_id}/credentials")
        path = self.dir / f"{host.name}.identity"
        path.write_text(json.loads(answer)["identity"])
        path.chmod(0o600)
        host.options += ["--host-id", host_id, "--identity", path]

    def ask(self, method, path, body=None, *options):
        """A request to the API by curl, over its unix socket; the answer's body."""
        command = ["curl", "-sS", "--max-time", "30", "--unix-socket", self.dir / "api.sock", "-X", method, *options]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data", json.dumps(body)]
        return subprocess.run([*command, f"http://localhost{path}"], capture_output=True, text=True, check=True,
                              timeout=60).stdout

    def stop_api(self, how=signal.SIGTERM):
        status = self.api.stop(how)
        self.daemons.remove(self.api)
        return status

    def cli(self, *arguments, check=True, text=None):
        done = CommandResult(subprocess.run([self.bin / "plexus", *map(str, arguments)], capture_output=True, text=True,
                                            input=text, stdin=None if text is not None else subprocess.DEVNULL,
                                            timeout=60, env=self.environment, check=False))
        if check and done.status != 0:
            raise AssertionError(f"plexus {' '.join(map(str, arguments))}: {done!r}")
        return done

    def json(self, *arguments):
        return json.loads(self.cli(*arguments, "--json").out)

    def items(self, noun, *arguments):
        return self.json(noun, "list", *arguments)["items"]

    def apply(self, document, check=True):
        """Applies a cloud file: text, or what JSON can say."""
        text = document if isinstance(document, str) else json.dumps(document)
        return self.cli("apply", "-f", "-", check=check, text=text)

    @contextlib.contextmanager
    def route(self, name, destination, router="core", **fields):
        """A route for a while."""
        options = [x for k, v in fields.items() for x in ("--" + k.replace("_", "-"), v)]
        self.cli("route", "create", "--name", name, "--router", router, "--destination", destination, *options)
        try:
            yield
        finally:
            self.cli("route", "delete", name)

    @contextlib.contextmanager
    def changed(self, noun, name, change, back):
        """A change for a while: options of update to make it, and to take it back."""
        self.cli(noun, "update", name, *change)
        try:
            yield
        finally:
            self.cli(noun, "update", name, *back)

    # ---- machines ----

    def add_machine(self, name, host, mac, addresses, routes=()):
        machine = Machine(self, name, self.hosts[host], mac, addresses, routes)
        self.machines[name] = machine
        return machine

    def wait_ports(self, count=None, timeout=15):
        """Until all ports are plugged in, by default one for each machine."""
        count = len(self.machines) if count is None else count
        wait_until(lambda: sum(h.status()["ports_active"] for h in self.hosts.values()) == count, timeout,
                   f"{count} active ports", 0.05)

    # ---- the end ----

    def check_daemons(self):
        """What must be true after every module: all daemons that should run do, and end well when told to."""
        for daemon in self.daemons:
            if not daemon.alive():
                self.problems.append(f"{daemon.log.name} died with status {daemon.process.returncode}")
        for daemon in list(self.daemons):
            if not daemon.alive():
                continue
            try:
                status = daemon.stop()
                if status != 0:
                    self.problems.append(f"{daemon.log.name}: SIGTERM, exit status {status}")
            except AssertionError as e:
                self.problems.append(str(e))
        for log in sorted((self.dir / "log").iterdir()):
            for word in ("AddressSanitizer", "ThreadSanitizer", "runtime error:", "check failed", "terminate called"):
                if word in log.read_text(errors="replace"):
                    self.problems.append(f"'{word}' in {log.name}:\n{log.read_text(errors='replace')[-3000:]}")

    def tear_down(self, checked=True):
        """Ends everything; what was not as it should be comes as an error at the end."""
        if checked:
            self.check_daemons()
        for daemon in self.daemons:
            if daemon.alive():
                daemon.process.kill()
                daemon.process.wait()
        for machine in self.machines.values():
            machine.namespace.delete()
        for host in self.hosts.values():
            if host.agent is not None:
                left = host.leave()
                # What is left in the store goes with it.
                if left.status != 0 and "the kernel is clean" not in left.err and checked:
                    self.problems.append(f"--leave on {host.name}: {left!r}")
            host.namespace.delete()
        if self.store is not None:
            self.store.end()
        self.fabric.delete()
        remains = mounts_below(self.dir)
        for mount in remains:
            subprocess.run(["umount", "-l", mount], check=False)
        if checked and remains:
            self.problems.append(f"still mounted after --leave: {remains}")
        shutil.rmtree(self.dir, ignore_errors=True)
        if checked and self.problems:
            raise AssertionError("\n".join(self.problems))

    def print_logs(self, lines=30):
        for log in sorted((self.dir / "log").iterdir()):
            text = log.read_text(errors="replace").splitlines()
            if text:
                print(f"--- last lines of {log.name}")
                print("\n".join(text[-lines:]))


def mounts_below(directory):
    found = []
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        at = line.split()[1].encode().decode("unicode_escape")
        if at == str(directory) or at.startswith(str(directory) + "/"):
            found.append(at)
    return sorted(found, reverse=True)


def gateways(net):
    return f"10.1.{net}.1", f"fd00:{net}::1"


TWO_SWITCHES = {
    "bridges": [{"name": "blue"}, {"name": "green"}],
    "routers": [{"name": "core"}],
    "ports": [
        {"name": "core-blue", "router": "core", "mac": "02:00:00:00:01:01",
         "networks": ["10.1.1.1/24", "fd00:1::1/64"], "peer": "blue-core"},
        {"name": "core-green", "router": "core", "mac": "02:00:00:00:02:01",
         "networks": ["10.1.2.1/24", "fd00:2::1/64"], "peer": "green-core"},
        {"name": "blue-core", "bridge": "blue"},
        {"name": "green-core", "bridge": "green"},
    ],
}

# name, host, bridge, number of its net, last part of its addresses, whether the topology knows its MAC and addresses
MACHINES = [
    ("vm1", "h1", "blue", 1, 11, True),
    ("vm2", "h1", "blue", 1, 12, True),
    ("vm3", "h2", "blue", 1, 13, True),
    ("vm4", "h2", "green", 2, 14, True),
    ("vm5", "h3", "green", 2, 15, False),
    ("vm6", "h1", "green", 2, 16, True),
]


def two_switches(**options):
    """The cloud most tests use: switches blue and green, the router core between them, six machines on three hosts."""
    cloud = Cloud(**options)
    try:
        ports = []
        for name, host, bridge, net, last, known in MACHINES:
            machine = cloud.add_machine(name, host, f"02:00:00:00:0{net}:{last}",
                                        [f"10.1.{net}.{last}/24", f"fd00:{net}::{last}/64"], gateways(net))
            port = {"name": name, "bridge": bridge, "host": host, "interface": machine.tap}
            if known:
                port |= {"mac": machine.mac, "addresses": [machine.v4, machine.v6]}
            ports.append(port)
        cloud.apply(TWO_SWITCHES | {"ports": TWO_SWITCHES["ports"] + ports})
        cloud.wait_ports()
    except BaseException:
        cloud.print_logs()
        cloud.tear_down(checked=False)
        raise
    return cloud
