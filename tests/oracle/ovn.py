# SPDX-License-Identifier: Apache-2.0
"""OVN as an oracle: its databases, northd, and ovn-trace, which says what the logical flows do with a packet. No switch, no
kernel, nothing of a system-wide OVN is touched."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovn-northd", "ovn-nbctl", "ovn-sbctl", "ovn-trace")
# What connection tracking says of the packets.
STATES = {"new": "new", "answer": "est,rpl"}


def missing():
    return [p for p in PROGRAMS if shutil.which(p) is None]


class TracerGone(Exception):
    """ovn-trace 23.03 aborts on some packets that make a router ask for a neighbour by IPv6."""


class Ovn:
    """Use as a context manager. One instance holds one cloud at a time."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="plexus-oracle-")
        self.env = dict(os.environ, OVN_RUNDIR=self.dir, OVS_RUNDIR=self.dir, OVN_LOGDIR=self.dir, OVS_LOGDIR=self.dir,
                        OVN_NB_DB=f"unix:{self.dir}/nb.sock", OVN_SB_DB=f"unix:{self.dir}/sb.sock")
        self.processes = []
        for database in ("nb", "sb"):
            self.run("ovsdb-tool", "create", f"{self.dir}/{database}.db", f"/usr/share/ovn/ovn-{database}.ovsschema")
            self.start("ovsdb-server", f"{self.dir}/{database}.db", f"--remote=punix:{self.dir}/{database}.sock",
                       f"--unixctl={self.dir}/{database}.ctl")
            self.wait_for(f"{database}.sock")
        self.start("ovn-northd", f"--ovnnb-db={self.env['OVN_NB_DB']}", f"--ovnsb-db={self.env['OVN_SB_DB']}",
                   f"--unixctl={self.dir}/northd.ctl")
        # Where gateways are; ovn-trace takes every chassis for its own.
        self.run("ovn-sbctl", f"--db={self.env['OVN_SB_DB']}", "chassis-add", "gateway", "geneve", "127.0.0.1")
        return self

    def __exit__(self, *_):
        for known in STATES:
            self._stop_tracer(known)
        for process in reversed(self.processes):
            process.terminate()
            process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *command):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)[:300]}: {done.stderr}"
        return done.stdout

    def start(self, *command):
        with open(f"{self.dir}/log", "a", encoding="utf-8") as log:
            self.processes.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))
        return self.processes[-1]

    def wait_for(self, file):
        deadline = time.monotonic() + 20
        while not os.path.exists(f"{self.dir}/{file}"):
            assert time.monotonic() < deadline, f"{file} does not come"
            time.sleep(0.02)

    def load(self, cloud, more=()):
        """Builds the cloud in place of the one before, with more commands of ovn-nbctl behind."""
        words = []

        def add(*command):
            words.extend(("--",) * bool(words) + command)

        for group in self.run("ovn-nbctl", "--bare", "--columns=name", "list", "port_group").split():
            add("pg-del", group)
        for balancer in self.run("ovn-nbctl", "--bare", "--columns=name", "list", "load_balancer").split():
            add("lb-del", balancer)
        for kind in ("ls", "lr"):
            for line in self.run("ovn-nbctl", f"{kind}-list").splitlines():
                add(f"{kind}-del", line.split()[0])
        if words:
            self.run("ovn-nbctl", *words)
            words.clear()
        for switch in cloud.switches:
            add("ls-add", switch)
        for machine in cloud.machines:
            add("lsp-add", machine.switch, machine.name)
            add("lsp-set-addresses", machine.name, f"{machine.mac} {machine.v4} {machine.v6}")
        for router in cloud.routers:
            add("lr-add", router)
        for leg in cloud.legs:
            add("lrp-add", leg.router, leg.name, leg.mac, leg.v4, leg.v6, *([f"peer={leg.peer}"] if leg.peer else []))
            if leg.switch:
                add("lsp-add", leg.switch, f"to-{leg.name}")
                add("lsp-set-type", f"to-{leg.name}", "router")
                add("lsp-set-addresses", f"to-{leg.name}", "router")
                add("lsp-set-options", f"to-{leg.name}", f"router-port={leg.name}")
        for route in cloud.routes:
            if route.leg:
                add("lr-route-add", route.router, route.prefix, route.next_hop, route.leg)
            else:
                add("lr-route-add", route.router, route.prefix, "discard")
        for group, members in cloud.groups.items():
            add("pg-add", group, *members)
            for direction, side in (("from-lport", "inport"), ("to-lport", "outport")):
                add("acl-add", group, direction, "1001", f"{side} == @{group} && ip", "drop")
        for allow in cloud.allows:
            direction = "to-lport" if allow.ingress else "from-lport"
            add("--may-exist", "acl-add", allow.group, direction, "1002", match_of(allow),
                "allow-related" if cloud.stateful else "allow-stateless")
        for command in more:
            add(*command)
        self.run("ovn-nbctl", "--wait=sb", *words)
        self._start_tracers()

    def _start_tracers(self):
        for known in STATES:
            self._start_tracer(known)

    def _start_tracer(self, known):
        """It reads the database once. Detached, it serves its control socket. Each packet takes as many of the states of its
        connection as the flows ask for; none is given twice."""
        self._stop_tracer(known)
        name = f"{self.dir}/trace-{known}"
        self.run("ovn-trace", f"--db={self.env['OVN_SB_DB']}", *[f"--ct={STATES[known]}"] * 20_000, "--detach",
                 f"--pidfile={name}.pid", f"--unixctl={name}.ctl")
        self.wait_for(f"trace-{known}.ctl")

    def _stop_tracer(self, known):
        name = f"{self.dir}/trace-{known}"
        if not os.path.exists(f"{name}.pid"):
            return
        with open(f"{name}.pid", encoding="utf-8") as file:
            process = int(file.read())
        try:
            os.kill(process, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while os.path.exists(f"{name}.pid") and time.monotonic() < deadline:
                time.sleep(0.02)
        except ProcessLookupError:
            pass
        for file in (f"{name}.pid", f"{name}.ctl"):
            if os.path.exists(file):
                os.unlink(file)

    def trace(self, switch, flow, known="new"):
        """What becomes of a packet, as text (ovn-trace --minimal), when its connection is new or it is an answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(f"{self.dir}/trace-{known}.ctl")
            connection.sendall(json.dumps({"id": 0, "method": "trace", "params": ["--minimal", switch, flow]}).encode())
            text = ""
            while True:
                more = self._receive(connection)
                if not more:
                    self._start_tracer(known)
                    raise TracerGone(flow)
                text += more
                try:
                    reply = json.loads(text)
                    break
                except ValueError:
                    continue
        assert reply["error"] is None, f"{flow}: {reply['error']}"
        assert "use --ct" not in reply["result"], "the states that ovn-trace was given are used up"
        return reply["result"]

    @staticmethod
    def _receive(connection):
        try:
            return connection.recv(1 << 20).decode()
        except ConnectionResetError:
            return ""

    def events(self, probe):
        """What comes out of which ports: (port, fields) for each, fields as OVN names them."""
        known = "answer" if probe.answer else "new"
        return play(self.trace(probe.machine.switch, flow_of(probe), known), fields_of(probe))


def match_of(allow):
    """The packets that a rule of a security group allows, in OVN's words."""
    ip, end = f"ip{allow.family}", "src" if allow.ingress else "dst"
    words = [f"{'outport' if allow.ingress else 'inport'} == @{allow.group}", ip]
    if allow.protocol:
        words.append(f"icmp{allow.family}" if allow.protocol == "icmp" else allow.protocol)
    if allow.ports:
        words.append(f"{allow.protocol}.dst >= {allow.ports[0]} && {allow.protocol}.dst <= {allow.ports[1]}")
    if allow.prefix:
        words.append(f"{ip}.{end} == {allow.prefix}")
    if allow.remote_group:
        words.append(f"{ip}.{end} == ${allow.remote_group}_ip{allow.family}")
    return " && ".join(words)


def fields_of(probe):
    """The packet as OVN's fields."""
    out = {"eth.src": probe.eth_src, "eth.dst": probe.eth_dst}
    if probe.protocol == "arp":
        return out | {"arp.op": "1", "arp.spa": probe.src, "arp.tpa": probe.dst, "arp.sha": probe.eth_src,
                      "arp.tha": "00:00:00:00:00:00"}
    ip = "ip4" if probe.family == 4 else "ip6"
    out |= {f"{ip}.src": probe.src, f"{ip}.dst": probe.dst, "ip.ttl": str(probe.ttl)}
    if probe.protocol == "icmp":
        kind = {4: ("8", "0"), 6: ("128", "129")}[probe.family][probe.answer]
        return out | {f"icmp{probe.family}.type": kind, f"icmp{probe.family}.code": "0"}
    return out | {f"{probe.protocol}.src": str(probe.sport), f"{probe.protocol}.dst": str(probe.dport)}


def flow_of(probe):
    return f'inport=="{probe.machine.name}" && ' + " && ".join(f"{name}=={value}" for name, value in fields_of(probe).items())


def play(text, fields):
    """Runs the actions that ovn-trace --minimal prints."""
    events, stack, now = [], [], dict(fields)
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if block := re.fullmatch(r"([a-z0-9_]+) \{", line):
            stack.append(now)
            now = dict(now)
            # Of a balancer's choice the trace shows the way only.
            if block[1] not in ("clone", "output", "ct_lb", "ct_lb_mark"):
                now["made"] = block[1]
        elif re.fullmatch(r"ct_next\(.*?\) \{", line):
            stack.append(now)     # goes on in the tables behind, as it is
            now = dict(now)
        elif re.fullmatch(r"ct_next\(.*?\);", line):
            pass                  # ends there
        elif re.fullmatch(r"ct_[sd]nat(?:in_czone)? /\* assuming .* \*/ \{", line):
            stack.append(now)     # undoes nothing
            now = dict(now)
        elif nat := re.fullmatch(r"ct_[sd]nat(?:in_czone)?\(([a-z0-9.]+)=(.*?)\) \{", line):
            stack.append(now)
            now = dict(now) | {nat[1]: nat[2]}
        elif line in ("};", "}"):
            now = stack.pop()
        elif out := re.fullmatch(r'output\("(.*?)"\);', line):
            events.append((out[1], dict(now)))
        elif change := re.fullmatch(r"([a-z0-9_.]+) = (.*?);", line):
            now[change[1]] = change[2]
        elif line == "ip.ttl--;":
            now["ip.ttl"] = str(int(now["ip.ttl"]) - 1)
        elif swap := re.fullmatch(r"([a-z0-9_.]+) <-> ([a-z0-9_.]+);", line):
            now[swap[1]], now[swap[2]] = now.get(swap[2]), now.get(swap[1])
        else:
            raise AssertionError(f"what does ovn-trace mean by '{line}' in\n{text}")
    return events

