#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plexus and plexus-api as a user meets them: processes, a unix socket, a store in a folder. Standard library only."""
import fcntl
import http.server
import json
import os
import pathlib
import pty
import re
import shlex
import signal
import socket
import socketserver
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

BIN = pathlib.Path(os.environ["PLEXUS_BIN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]

CLOUD = """\
bridges:
  - name: web
  - name: db
routers:
  - name: r1
hosts:
  - name: h1
  - name: h2
ports:
  - {name: vm1, bridge: web, host: h1, interface: tap-vm1, mac: "02:00:00:00:00:01", addresses: [10.0.1.11, "fd00:1::11"]}
  - {name: vm2, bridge: db, host: h2, interface: tap-vm2, mac: "02:00:00:00:00:02", addresses: [10.0.2.12]}
  - {name: web-r1, bridge: web, peer: r1-web}
  - {name: r1-web, router: r1, networks: [10.0.1.1/24, "fd00:1::1/64"]}
  - {name: r1-db, router: r1, networks: [10.0.2.1/24], peer: db-r1}
  - {name: db-r1, bridge: db, peer: r1-db}
routes:
  - {router: r1, destination: 0.0.0.0/0, port: r1-web, next_hop: 10.0.1.254}
  - {router: r1, destination: 10.66.0.0/16, kind: blackhole, name: hole}
"""
OBJECTS = 13


class Api:
    """plexus-api on a socket of its own."""

    def __init__(self, folder, *listen):
        self.store = folder / "store"
        self.socket = folder / "api.sock"
        self.log = folder / "api.log"
        self.listen = listen or (f"unix:{self.socket}",)
        self.start()

    def start(self):
        command = [BIN / "plexus-api", "--store", f"embedded:{self.store}"]
        for n, address in enumerate(self.listen):
            is_address = not str(address).startswith("--") and not str(self.listen[n - 1]).startswith("--")
            command += ["--listen", address] if is_address else [address]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "plexus-api does not answer"
            time.sleep(0.02)

    def answers(self):
        return subprocess.run([BIN / "plexus", "--api", f"unix:{self.socket}", "bridge", "list"],
                              capture_output=True, check=False).returncode == 0

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(10)


class EndToEnd(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="plexus-cli-")
        self.dir = pathlib.Path(self.folder.name)
        self.api = Api(self.dir)
        self.environment = {**os.environ, "PLEXUS_API": f"unix:{self.api.socket}", "PLEXUS_RUN": str(self.dir / "run")}

    def tearDown(self):
        if self.api.process.poll() is None:
            self.assertEqual(self.api.stop(), 0, "plexus-api ends cleanly")
        self.folder.cleanup()

    def run_plexus(self, *arguments, text=None):
        return subprocess.run([BIN / "plexus", *map(str, arguments)], capture_output=True, text=True, input=text,
                              env=self.environment, timeout=30, check=False)

    def good(self, *arguments, text=None):
        done = self.run_plexus(*arguments, text=text)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def bad(self, *arguments, says, status=1, text=None):
        done = self.run_plexus(*arguments, text=text)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertIn(says, done.stderr)
        return done

    def writes(self):
        """How many requests the server has answered that were no GET."""
        self.api.answers()
        text = subprocess.run(["curl", "-s", "--unix-socket", self.api.socket, "http://localhost/metrics"], capture_output=True, text=True,
                              timeout=10, check=True).stdout
        counts = re.findall(r'plexus_api_requests_total\{method="(\w+)"[^}]*\} (\d+)', text)
        self.assertTrue(counts, text)
        return sum(int(n) for method, n in counts if method != "GET")

    def apply(self, text):
        return self.good("apply", "-f", "-", text=text)

    def test_resources(self):
        self.good("bridge", "create", "--name", "web")
        self.good("host", "create", "--name", "h1")
        made = json.loads(self.good("port", "create", "--name", "vm1", "--bridge", "web", "--host", "h1", "--interface", "tap0",
                                    "--addresses", "10.0.0.5,fd00::5", "--mac", "02:00:00:00:00:AA", "--json"))
        self.assertEqual(made["mac"], "02:00:00:00:00:aa")
        self.assertEqual(made["addresses"], ["10.0.0.5", "fd00::5"])
        shown = self.good("port", "show", "vm1")
        self.assertRegex(shown, r"(?m)^bridge: +web$")
        self.assertRegex(shown, r"(?m)^addresses: +10\.0\.0\.5 fd00::5$")
        self.assertEqual(self.good("port", "show", made["id"]), shown)
        table = self.good("port", "list", "--bridge", "web").splitlines()
        self.assertRegex(table[0], r"^NAME +BRIDGE +HOST +INTERFACE +STATE +MAC +ADDRESSES +ID$")
        self.assertRegex(table[1], r"^vm1 +web +h1 +tap0 ")
        self.assertEqual(len(table), 2)
        self.assertEqual(json.loads(self.good("port", "list", "--name", "no", "--json"))["items"], [])
        self.good("port", "update", "vm1", "--interface", "tap9", "--clear", "addresses,host")
        again = json.loads(self.good("port", "show", "vm1", "--json"))
        self.assertEqual(again["interface"], "tap9")
        self.assertNotIn("addresses", again)
        self.assertNotIn("host", again)
        self.assertIn("name: vm1", self.good("port", "show", "vm1", "--yaml"))
        self.bad("bridge", "delete", "web", says="vm1")
        self.assertEqual(self.good("port", "delete", "vm1"), "deleted port vm1\n")
        self.good("bridge", "delete", "web")

    def test_mistakes(self):
        self.good("bridge", "create", "--name", "web")
        self.bad("bridge", "create", "--name", "web", says="web")
        self.bad("bridge", "create", "--name", "-x", says="is not a name")
        self.bad("port", "create", "--name", "a", "--bridge", "wbe", says="there is no bridge 'wbe'; did you mean 'web'?")
        self.bad("port", "create", "--name", "a", says="needs --bridge or --router", status=2)
        self.bad("port", "create", "--name", "a", "--bridge", "web", "--mac", "x", says="six bytes like")
        self.bad("bridge", "show", "wbe", says="did you mean 'web'?")
        self.bad("bridge", "delete", "wbe", says="did you mean 'web'?")
        self.bad("brigde", "list", says="did you mean 'bridge'?", status=2)
        self.bad("apply", "-f", self.dir / "nope", says="nope")
        self.bad("bridge", "list", "--api", f"unix:{self.dir}/nobody", says="does not answer", status=4)
        self.bad("flows", says="no agent", status=4)

    def test_apply_and_delete(self):
        dry = self.good("apply", "--dry-run", "-f", "-", text=CLOUD)
        self.assertIn(f"{OBJECTS} created, 0 updated, 0 unchanged (dry run: nothing was done; ", dry)
        self.assertIn("+ port vm1  line 10\n    bridge: web\n    host: h1\n", dry)
        self.assertEqual(json.loads(self.good("bridge", "list", "--json"))["items"], [])
        self.assertIn(f"{OBJECTS} created, 0 updated, 0 unchanged\n", self.apply(CLOUD))
        self.assertEqual(self.apply(CLOUD), f"0 created, 0 updated, {OBJECTS} unchanged\n")
        moved = CLOUD.replace("host: h1, interface: tap-vm1", "host: h2, interface: tap-vm1")
        self.assertEqual(self.apply(moved), f"updated   port vm1 (host)\n0 created, 1 updated, {OBJECTS - 1} unchanged\n")
        ports = {p["name"]: p for p in json.loads(self.good("port", "list", "--json"))["items"]}
        for a, b in (("web-r1", "r1-web"), ("r1-db", "db-r1")):
            self.assertEqual(ports[a]["peer"], ports[b]["id"])
            self.assertEqual(ports[b]["peer"], ports[a]["id"])
        drawing = self.good("topology")
        for words in ("│ router r1 │", "bridge web by its port web-r1", "h2:tap-vm1", "0.0.0.0/0  via 10.0.1.254", "hosts"):
            self.assertIn(words, drawing)
        self.assertIn(f"{OBJECTS} deleted, 0 absent\n", self.good("delete", "-f", "-", text=moved))
        self.assertEqual(self.good("delete", "-f", "-", text=moved), f"0 deleted, {OBJECTS} absent\n")
        self.assertIn("The topology is empty", self.good("topology"))

    def test_apply_says_where(self):
        path = self.dir / "cloud.yaml"
        cases = [
            ("bridges:\n  - name: web\nbriges:\n  - name: x\n", "cloud.yaml:3: unknown collection 'briges'; did you mean 'bridges'?"),
            ("bridges:\n  - name: web\n    colour: red\n", "cloud.yaml:3: bridges[0].colour: unknown field 'colour' of bridge"),
            ("ports:\n  - {name: a, bridge: nope}\n", "cloud.yaml:2: ports[0].bridge: there is no bridge 'nope'"),
            ("bridges:\n  - name: a\n  - name: a\n", "cloud.yaml:3: bridges[1].name: the bridge 'a' is already in line 2"),
            ("routers: [{name: r}]\nports:\n- {name: a, router: r, networks: [10.0.0.1/24]}\n"
             "- {name: b, router: r, networks: [10.0.0.2/24]}\n", "cloud.yaml:4: port b: "),
        ]
        for text, says in cases:
            path.write_text(text)
            self.bad("apply", "-f", path, says=says)

    def test_apply_again_writes_nothing(self):
        self.apply(CLOUD)
        before = self.writes()
        for arguments in ([], ["--prune"], ["--dry-run"]):
            self.good("apply", "-f", "-", *arguments, text=CLOUD)
        self.assertEqual(self.writes(), before)
        self.apply(CLOUD.replace("tap-vm1", "tap-other"))
        self.assertEqual(self.writes(), before + 1)

    def test_large_apply(self):
        ports = 5000
        lines = ["bridges:", *(f"- {{name: b{i}}}" for i in range(50)), "hosts:", *(f"- {{name: h{i}}}" for i in range(20)), "ports:"]
        lines += [f"- {{name: vm{i}, bridge: b{i % 50}, host: h{i % 20}, interface: tap{i}, "
                  f"mac: \"02:00:00:00:{i // 256:02x}:{i % 256:02x}\", addresses: [10.{i % 50}.{i // 250}.{i % 250 + 1}]}}" for i in range(ports)]
        path = self.dir / "large.yaml"
        path.write_text("\n".join(lines) + "\n")
        took = []
        for expected in (f"{ports + 70} created, 0 updated, 0 unchanged", f"0 created, 0 updated, {ports + 70} unchanged"):
            before, begin = self.writes(), time.monotonic()
            done = self.run_plexus("apply", "-f", path, "--quiet", "--json")
            took.append(time.monotonic() - begin)
            self.assertEqual(done.returncode, 0, done.stderr)
            counts = json.loads(done.stdout)
            self.assertEqual("{created} created, {updated} updated, {unchanged} unchanged".format(**counts), expected)
            self.assertLessEqual(self.writes() - before, (ports + 70 + 199) // 200 if counts["created"] else 0)
        print(f"[{ports} ports: {took[0]:.1f} s, again: {took[1]:.1f} s]", end=" ", flush=True)
        self.assertEqual(len(self.good("port", "list", "-o", "name").splitlines()), ports)
        self.assertIn("did you mean 'vm4999'?", self.run_plexus("port", "show", "vm49999").stderr)

    def test_apply_goes_on_after_a_failure(self):
        ports = [f"- {{name: p{i}, bridge: b, host: h, interface: t{i}}}\n" for i in range(450)]
        ports[430] = "- {name: p430, bridge: b, host: h, interface: t7}\n"
        cloud = "bridges: [{name: b}]\nhosts: [{name: h}]\nports:\n" + "".join(ports)
        done = self.bad("apply", "-f", "-", text=cloud, says="standard input:434: port p430: ")
        self.assertIn("400 created, 0 updated, 0 unchanged\n", done.stdout)
        self.assertIn("52 created, 0 updated, 400 unchanged\n", self.apply(cloud.replace("interface: t7}\n- {name: p431", "interface: x}\n- {name: p431")))

    def test_filters(self):
        example = (ROOT / "examples/security/cloud.yaml").read_text()
        self.assertIn("0 updated, 0 unchanged\n", self.apply(example))
        self.assertIn("0 created, 0 updated, ", self.apply(example), "a second time nothing is to do")
        # A chain is read in the order of its rules.
        self.assertEqual(self.good("rule", "list", "--chain", "keep-out", "-o", "name").split(), ["jump-hosts", "others", "scans", "telnet"])
        made = json.loads(self.good("rule", "create", "--chain", "keep-out", "--position", "15", "--action", "drop", "--protocol", "6",
                                    "--destination-ports", "22,8000-8080", "--tcp-flags=-ack", "--source", "10.0.0.0/8",
                                    "--in-port-group", "jump-hosts", "--inverted", "source,in_port_group", "--json"))
        self.assertEqual((made["protocol"], made["destination_ports"], made["tcp_flags"], made["inverted"]),
                         ("tcp", ["22", "8000-8080"], "-ack", ["source", "in_port_group"]))
        self.good("rule", "update", made["id"], "--clear", "inverted")
        self.assertNotIn("inverted", self.good("rule", "show", made["id"]))
        self.bad("rule", "create", "--chain", "keep-out", "--position", "1", "--action", "drop", "--destination-ports", "22",
                 says="destination_ports: needs protocol tcp, udp or sctp")
        self.bad("rule", "create", "--chain", "keep-out", "--position", "1", "--action", "drop", "--protocol", "tcp",
                 "--destination-ports", "8080:8000", says="write 8000-8080")
        self.bad("rule", "create", "--chain", "count-and-drop", "--position", "1", "--action", "jump", "--jump-chain", "keep-out",
                 says="it leads back")
        # Lists of references: by name, sorted, whole.
        self.good("port", "update", "web1", "--security-groups", "web,database")
        self.assertRegex(self.good("port", "show", "web1"), r"(?m)^security_groups: +database web$")
        self.assertEqual(self.good("port", "list", "--security-groups", "database", "-o", "name").split(), ["db1", "web1"])
        self.bad("port", "update", "web1", "--security-groups", "web,web", says="'web' appears twice in the list")
        self.bad("port", "update", "web1", "--security-groups", "web,dbb", says="there is no security-group 'dbb'")
        self.bad("security-group", "delete", "database", says="port ")
        self.good("port", "update", "edge-back", "--port-groups", "jump-hosts")
        self.bad("port-group", "delete", "jump-hosts", says="rule jump-hosts")
        for rule in ("jump-hosts", made["id"]):
            self.good("rule", "delete", rule)
        self.assertIn("1 references to it cleared", self.good("port-group", "delete", "jump-hosts"))
        self.assertNotIn("port_groups", self.good("port", "show", "edge-back"))

    def test_services(self):
        example = (ROOT / "examples/services/cloud.yaml").read_text()
        self.assertIn("0 updated, 0 unchanged\n", self.apply(example))
        self.assertIn("0 created, 0 updated, ", self.apply(example), "a second time nothing is to do")
        phone = json.loads(self.good("port", "show", "phone", "--json"))
        self.assertEqual(phone["dhcp_options"], ['66 = "tftp.example.net"'])
        self.assertEqual(json.loads(self.good("dhcp-subnet", "show", "office", "--json"))["routes"], ["10.2.0.0/16 via 10.1.0.30"])
        mirror = self.good("mirror", "show", "what-mail-says", "--yaml")
        self.assertNotIn("at_bridge", mirror, "what the store keeps for itself is not shown")
        # What is shown can be applied.
        self.assertIn("1 unchanged", self.apply("mirrors:\n" + "".join(f"  {'- ' if not n else '  '}{line}\n" for n, line in
                                                                       enumerate(line for line in mirror.splitlines() if line))))
        self.bad("floating-ip", "create", "--router", "edge", "--address", "192.0.2.25", says="belongs to floating-ip mail")
        self.bad("floating-ip", "create", "--router", "edge", "--address", "192.0.2.26", "--inside", "fd00::1", says="not of the family")
        self.bad("vip", "create", "--name", "x", "--load-balancer", "web", "--pool", "web-servers", "--address", "192.0.2.80", "--protocol", "tcp",
                 "--port", "80", says="belongs to vip http")
        self.bad("pool-member", "create", "--pool", "web-servers", "--address", "fd00::1", says="family")
        self.bad("port", "create", "--name", "x", "--bridge", "voice", "--parent", "pbx", "--vlan", "20", says="belongs to port pbx-voice")
        self.bad("dhcp-subnet", "update", "office", "--routes", "10.2.0.0/16", says="add the next hop")
        self.bad("dhcp-subnet", "update", "office", "--options", "66 = tftp", says='66 = "tftp"')
        self.bad("dhcp-subnet", "update", "office", "--options", "53 = 01", says="the server's own")
        self.bad("rule", "create", "--chain", "leaving", "--position", "1", "--action", "snat", says="snat_pool: is required")
        self.bad("snat-pool", "delete", "shared", says="rule shared")
        # Commas within quotes are the value's.
        self.good("port", "update", "phone", "--dhcp-options", '66 = "a,b",150 = 0a000001')
        self.assertEqual(json.loads(self.good("port", "show", "phone", "--json"))["dhcp_options"], ['66 = "a,b"', "150 = 0a000001"])
        # Names of pools are their load balancer's own.
        self.good("load-balancer", "create", "--name", "other", "--router", "edge")
        self.good("pool", "create", "--name", "web-servers", "--load-balancer", "other")
        self.bad("pool-member", "create", "--pool", "web-servers", "--address", "10.1.0.9", says="several pools are called 'web-servers'")
        self.good("load-balancer", "delete", "other")
        # Everything goes as the file came.
        self.assertIn(" deleted, 0 absent\n", self.good("delete", "-f", "-", text=example))
        self.assertIn("The topology is empty", self.good("topology"))

    def test_services_as_documented(self):
        """The commands of docs/services.md, in their order."""
        text = (ROOT / "docs/services.md").read_text()
        commands = [line for block in re.findall(r"(?ms)^```\n(.*?)^```$", text) for line in block.splitlines()]
        self.assertGreater(len(commands), 40)
        for command in commands:
            words = shlex.split(command)
            self.assertEqual(words[0], "plexus", command)
            self.good(*words[1:])
        self.assertRegex(self.good("port", "list", "--parent", "mail"), "(?m)^mail-voice ")

    def test_outside_addresses_are_one_routers(self):
        cloud = ("bridges: [{name: provider}]\nrouters: [{name: red}, {name: blue}]\nports:\n"
                 "  - {name: to-red, bridge: provider}\n  - {name: to-blue, bridge: provider}\n"
                 "  - {name: red-up, router: red, networks: [203.0.113.1/24], peer: to-red}\n"
                 "  - {name: blue-up, router: blue, networks: [203.0.113.2/24]}\n"
                 "floating-ips:\n  - {name: mail, router: red, address: 203.0.113.25}\n  - {name: web, router: blue, address: 203.0.113.25}\n")
        self.apply(cloud)
        wired = self.bad("port", "update", "blue-up", "--peer", "to-blue", says="peer: the address 203.0.113.25 of floating-ip web")
        for words in ("on bridge provider", "belongs to floating-ip mail", "of router red", "change or remove one of the two first"):
            self.assertIn(words, wired.stderr)
        self.good("floating-ip", "update", "web", "--address", "203.0.113.26")
        self.good("port", "update", "blue-up", "--peer", "to-blue")
        self.bad("floating-ip", "update", "web", "--address", "203.0.113.25", says="belongs to floating-ip mail")
        self.bad("port", "create", "--name", "vm", "--bridge", "provider", "--addresses", "203.0.113.25", says="belongs to floating-ip mail")
        self.good("snat-pool", "create", "--name", "out", "--router", "blue", "--addresses", "203.0.113.2")
        self.good("port", "update", "red-up", "--clear", "peer")
        self.good("floating-ip", "update", "web", "--address", "203.0.113.25")
        if (BIN / "plexus-store").exists():
            self.good("store", "check", "--store", f"embedded:{self.api.store}")
        self.assertIn(" deleted, 0 absent\n", self.good("delete", "-f", "-", text=cloud))

    def test_what_a_watcher_says_of_a_member_is_not_a_files(self):
        cloud = ("routers: [{name: edge}]\nload-balancers: [{name: web, router: edge}]\npools: [{name: servers, load_balancer: web}]\n"
                 "pool-members: [{name: web1, pool: servers, address: 10.1.0.11, weight: WEIGHT}]\n")
        self.apply(cloud.replace("WEIGHT", "1"))
        self.bad("pool-member", "update", "web1", "--status", "ill", says="status")
        self.good("pool-member", "update", "web1", "--status", "down")
        self.assertRegex(self.good("pool-member", "list"), r"(?m)^web1 .*\bdown\b")
        self.apply(cloud.replace("WEIGHT", "2"))
        member = json.loads(self.good("pool-member", "show", "web1", "--json"))
        self.assertEqual((member["weight"], member["status"]), (2, "down"))
        self.good("pool-member", "update", "web1", "--clear", "status")
        self.assertNotIn("status", json.loads(self.good("pool-member", "show", "web1", "--json")))

    def test_prune(self):
        self.apply(CLOUD)
        self.apply("bridges: [{name: theirs, tenant: red}]\n")
        less = CLOUD.replace("  - {name: vm2,", "  # - {name: vm2,").replace("  - {router: r1, destination: 10.66", "  # - {router: r1, destination: 10.66")
        self.assertEqual(self.apply(less), f"0 created, 0 updated, {OBJECTS - 2} unchanged\n", "without --prune all stay")
        dry = self.good("apply", "-f", "-", "--prune", "--dry-run", text=less)
        self.assertIn("- port vm2\n", dry)
        self.assertIn("- route hole\n", dry)
        self.assertIn("2 removed (dry run", dry)
        self.assertIn("2 removed\n", self.good("apply", "-f", "-", "--prune", text=less))
        self.assertEqual(self.good("port", "list", "-o", "name").split(), ["db-r1", "r1-db", "r1-web", "vm1", "web-r1"])
        # Renamed: the interface, the MAC and the addresses are free in time.
        renamed = less.replace("name: vm1,", "name: vm9,")
        self.assertIn("1 created, 0 updated", self.good("apply", "-f", "-", "--prune", text=renamed))
        self.bad("apply", "-f", "-", "--prune", "--yes", text="routers: [{name: r1}]\nbridges: []\nports: []\n", says="--force")
        self.assertIn("theirs", self.good("bridge", "list", "-o", "name"))
        self.assertIn("h1", self.good("host", "list", "-o", "name"))

    def test_names(self):
        self.good("tenant", "create", "--name", "red")
        self.good("bridge", "create", "--name", "web", "--tenant", "red")
        self.assertIn("red", self.good("bridge", "show", "web"), "the only one of that name")
        self.good("tenant", "create", "--name", "blue")
        self.good("bridge", "create", "--name", "web", "--tenant", "blue")
        done = self.bad("bridge", "show", "web", says="several bridges are called 'web'")
        for words in ("of tenant red", "of tenant blue", "give --tenant"):
            self.assertIn(words, done.stderr)
        self.assertIn("blue", self.good("bridge", "show", "web", "--tenant", "blue"))
        self.good("bridge", "delete", "web", "--tenant", "red")

    def test_changes_are_waited_for(self):
        self.assertRegex(self.good("bridge", "create", "--name", "web", "--wait", "-q"), r"^$")
        self.assertRegex(self.good("bridge", "update", "web", "--admin-up", "false", "--wait"), r"applied on 0 hosts in 0\.\d\d s\n$")
        self.assertRegex(self.good("wait"), r"^applied on 0 hosts")
        self.good("host", "create", "--name", "h1")
        answer = json.loads(self.good("wait", "--json"))
        self.assertTrue(answer["converged"])
        self.assertEqual(answer["unknown"], ["h1"])

    def test_hosts_and_ports(self):
        self.apply(CLOUD)
        self.assertRegex(self.good("host", "list"), r"(?m)^h1 +never seen +0/1 ")
        self.good("host", "drain", "h2")
        self.assertRegex(self.good("host", "list"), r"(?m)^h2 +never seen, draining +0/1 ")
        self.bad("port", "migrate", "vm1", "--to", "h2", says="drain")
        self.good("host", "undrain", "h2")
        self.good("port", "migrate", "vm1", "--to", "h2")
        self.assertRegex(self.good("port", "list"), r"(?m)^vm1 .* unbound +")
        self.bad("port", "migrate", "vm1", "--to", "h2", "--activate", "--wait", "--timeout", "1", says="not active after 1 s", status=3)
        port = json.loads(self.good("port", "show", "vm1", "--json"))
        self.assertNotIn("migrating_to", port)
        self.assertEqual(port["host"], json.loads(self.good("host", "show", "h2", "--json"))["id"])
        self.good("port", "unbind", "vm1")
        self.good("port", "bind", "vm1", "--host", "h1", "--interface", "tap7")
        self.assertEqual(json.loads(self.good("port", "show", "vm1", "--json"))["interface"], "tap7")
        self.good("host", "fence", "h1")
        self.assertRegex(self.good("host", "show", "h1"), r"state: +never seen, fenced")
        self.good("host", "unfence", "h1", "--wait")
        self.bad("host", "credentials", "h1", says="identit")

    def test_tokens(self):
        made = self.run_plexus("token", "create", "--name", "ops", "--role", "reader")
        self.assertEqual(made.returncode, 0, made.stderr)
        secret = re.search(r"secret: +(plx_\S+)", made.stdout).group(1)
        self.assertIn("cannot be read again", made.stderr)
        (self.dir / "token").write_text(secret + "\n")
        for listed in (self.good("token", "list"), self.good("token", "show", "ops", "--json")):
            self.assertNotIn(secret, listed)
        self.environment["PLEXUS_TOKEN"] = f"@{self.dir}/token"
        self.assertRegex(self.good("whoami"), r"who: +token ops")
        done = self.bad("bridge", "create", "--name", "web", says="; ", status=5)
        self.assertNotIn(secret, done.stderr)
        self.bad("bridge", "list", "--token", "plx_wrong", says="the token is unknown", status=5)
        del self.environment["PLEXUS_TOKEN"]
        self.assertRegex(self.good("whoami"), r"role: +admin")
        self.assertRegex(self.good("audit"), r"(?m) created +tokens +ops ")

    def test_a_tenant_means_its_own(self):
        self.bad("token", "create", "--name", "ci", "--role", "tenant", "--tenant", "acmee", says="there is no tenant 'acmee'")
        self.good("tenant", "create", "--name", "acme")
        secret = json.loads(self.good("token", "create", "--name", "ci", "--role", "tenant", "--tenant", "acme", "--json"))["secret"]
        (self.dir / "token").write_text(secret + "\n")
        own = ("--token", f"@{self.dir}/token")
        cloud = "bridges: [{name: web}]\nports: [{name: p1, bridge: web}]\nrules: []\n"
        self.assertIn("2 created, 0 updated, 0 unchanged\n", self.good("apply", "-f", "-", *own, text=cloud))
        self.assertEqual("0 created, 0 updated, 2 unchanged\n", self.good("apply", "-f", "-", *own, text=cloud))
        # Objects that exist, by their names; nobody's of the same name stays out of it.
        nobody = json.loads(self.good("chain", "create", "--name", "out", "--json"))["id"]
        chain = json.loads(self.good("chain", "create", "--name", "out", "--json", *own))["id"]
        self.good("port", "create", "--name", "p2", "--bridge", "web", *own)
        self.good("rule", "create", "--chain", "out", "--position", "1", "--action", "drop", *own)
        self.good("port", "update", "p2", "--in-chain", "out", *own)
        self.good("port", "update", "p1", "--in-chain", "out")
        for port in ("p1", "p2"):
            self.assertEqual(json.loads(self.good("port", "show", port, "--json"))["in_chain"], chain, nobody)
        added = "ports: [{name: p3, bridge: web, in_chain: out}]\n"
        self.assertIn("1 created", self.good("apply", "-f", "-", *own, text=added))
        # An empty list is about the token's tenant.
        self.assertIn("1 removed", self.good("apply", "-f", "-", "--prune", "--force", *own, text="rules: []\n"))
        self.bad("tenant", "delete", "acme", says="has the token ci")
        self.assertIn("2 deleted, 0 absent\n", self.good("delete", "-f", "-", *own, text="ports: [{name: p2}, {name: p3}]\n"))
        self.assertIn("2 deleted, 0 absent\n", self.good("delete", "-f", "-", *own, text=cloud))
        self.good("token", "delete", "ci")
        self.bad("tenant", "delete", "acme", says="tenant acme (", status=1)
        self.good("chain", "delete", chain)
        self.good("tenant", "delete", "acme")

    def test_what_a_removal_takes_along(self):
        self.apply((ROOT / "examples/services/cloud.yaml").read_text())
        done = self.good("load-balancer", "delete", "web")
        self.assertRegex(done, r"^deleted load-balancer web, \d+ more with it\n  deleted with it: ")
        self.assertRegex(done, r"vips .*http")
        self.assertIn("What belongs to it is deleted with it: pools, vips, pool-members.",
                      self.good("load-balancer", "delete", "--help"))
        self.assertIn("host of ports", self.good("host", "delete", "--help"))

    def test_a_server_that_falls_silent(self):
        self.api.process.send_signal(signal.SIGSTOP)
        try:
            self.bad("--timeout", "1", "bridge", "create", "--name", "zzz", says="it may have been done: look before", status=3)
            done = self.bad("--timeout", "1", "bridge", "list", says="gave no answer within 1 s", status=3)
            self.assertNotIn("may have been done", done.stderr)
        finally:
            self.api.process.send_signal(signal.SIGCONT)

    def test_what_is_not_set_counts(self):
        self.good("bridge", "create", "--name", "web")
        self.assertEqual(self.good("bridge", "list", "--admin-up", "true", "-o", "name"), "web\n")
        self.assertEqual(self.good("bridge", "list", "--admin-up", "false", "-o", "name"), "")
        self.good("bridge", "update", "web", "--admin-up", "false")
        self.assertEqual(self.good("bridge", "list", "--admin-up", "true", "-o", "name"), "")
        listed = json.loads(self.good("bridge", "list", "--json"))
        self.good("wait", "--revision", listed["revision"])

    def test_watch(self):
        out = open(self.dir / "watch", "w+", encoding="utf-8")
        watch = subprocess.Popen([BIN / "plexus", "watch", "bridges", "--json"], stdout=out, stderr=subprocess.PIPE, text=True, env=self.environment)
        seen = lambda: [json.loads(line) for line in (self.dir / "watch").read_text().splitlines()]
        number = 0

        def until_seen():
            """Makes bridges until the stream shows one: it was there before that one."""
            nonlocal number
            deadline = time.monotonic() + 20
            count = len(seen())
            while len(seen()) == count:
                self.assertLess(time.monotonic(), deadline)
                number += 1
                self.good("bridge", "create", "--name", f"b{number}")
                time.sleep(0.05)

        try:
            until_seen()
            self.assertEqual(self.api.stop(signal.SIGKILL), -signal.SIGKILL)
            self.api.start()
            self.good("bridge", "create", "--name", "while-away")
            until_seen()
            names = [c["name"] for c in seen()]
            self.assertIn("while-away", names, "what happened while it was not connected")
            self.assertEqual(len(names), len(set(names)), "nothing twice")
            first = seen()[0]
            self.assertEqual((first["verb"], first["collection"]), ("created", "bridges"))
            again = self.good("watch", "bridges", "--since", first["revision"], "--count", len(names) - 1, "-o", "name").split()
            self.assertEqual(again, names[1:])
        finally:
            watch.kill()
            watch.communicate()
            out.close()

    def test_tls_and_several_servers(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-keyout", self.dir / "key", "-out", self.dir / "cert", "-subj", "/CN=plexus",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=20)
        secret = json.loads(self.good("token", "create", "--name", "ops", "--role", "admin", "--json"))["secret"]
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        other = self.dir / "second"
        other.mkdir()
        second = Api.__new__(Api)
        second.store, second.socket, second.log = self.api.store, other / "api.sock", other / "log"
        second.listen = (f"unix:{second.socket}", f"https://127.0.0.1:{port}", "--tls-cert", self.dir / "cert", "--tls-key", self.dir / "key")
        second.start()
        try:
            address = f"https://127.0.0.1:{port}"
            self.bad("bridge", "list", "--api", address, says="--cacert", status=5)
            tls = ["--api", address, "--cacert", self.dir / "cert"]
            self.bad("bridge", "list", *tls, says="--token", status=5)
            self.good("bridge", "create", "--name", "web", *tls, "--token", secret)
            several = ["--api", f"unix:{self.dir}/nobody,unix:{self.api.socket},{address}", *tls[2:], "--token", secret]
            self.good("bridge", "create", "--name", "db", *several)
            self.assertEqual(self.api.stop(), 0)
            self.assertEqual(self.good("bridge", "list", "-o", "name", *several), "db\nweb\n")
            self.assertIn("2 unchanged", self.good("apply", "-f", "-", *several, text="bridges: [{name: web}, {name: db}]\n"))
            self.api.start()
        finally:
            self.assertEqual(second.stop(), 0)

    def until(self, condition, seconds=15):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_with_agents(self):
        """Real agents on a datapath in memory: what --wait says about those that apply, and about one that is stopped."""
        agent = BIN / "plexus-agent"
        if not agent.exists() or b"--datapath" not in subprocess.run([agent, "--help"], capture_output=True, timeout=10, check=False).stdout:
            self.skipTest("no agent that needs no root")
        run = pathlib.Path(self.environment["PLEXUS_RUN"])
        agents = {}
        try:
            self.good("tunnel-zone", "create", "--name", "fabric", "--prefixes", "127.0.0.0/8")
            for name in ("h1", "h2"):
                with open(self.dir / name, "wb") as log:
                    agents[name] = subprocess.Popen([agent, "--name", name, "--store", f"embedded:{self.api.store}", "--run-dir", run,
                                                     "--state-dir", self.dir / f"state-{name}", "--datapath", "fake"], stdout=log, stderr=log)
            self.until(lambda: self.good("host", "list").count(" live ") == 2)
            self.assertRegex(self.apply("bridges: [{name: web}]\n"), "1 created")
            done = self.good("port", "create", "--name", "vm1", "--bridge", "web", "--wait")
            self.assertRegex(done, r"applied on 2 hosts in \d+\.\d\d s\n$")
            self.assertRegex(self.good("port", "bind", "vm1", "--host", "h1", "--interface", "tap1", "--wait"),
                             r"applied on 2 hosts in .*\nport vm1 is active on host h1\n$")
            self.assertRegex(self.good("host", "list"), r"(?m)^h1 +live +1/1 +127\.0\.0\.1 ")
            self.assertRegex(self.good("port", "migrate", "vm1", "--to", "h2", "--activate", "--wait"), "port vm1 is active on host h2\n$")
            self.good("host", "drain", "h1", "--wait", "--timeout", "10")
            agents["h2"].send_signal(signal.SIGSTOP)
            self.bad("bridge", "update", "web", "--admin-up", "false", "--wait", "--timeout", "1", says="applied on 1 of 2 hosts after", status=3)
            self.bad("wait", "--timeout", "1", says="not on h2", status=3)
            self.bad("host", "fence", "h2", says="--yes")
            self.assertIn("applied on 1 host in", self.good("host", "fence", "h2", "--yes"))
            agents["h2"].send_signal(signal.SIGCONT)
            self.assertIn("applied on 2 hosts in", self.good("host", "unfence", "h2", "--wait"))
        finally:
            for process in agents.values():
                process.send_signal(signal.SIGCONT)
                process.terminate()
                process.wait(10)

    def on_terminal(self, *arguments, columns=60, typed=""):
        """Runs plexus on a terminal; its exit status and what was shown."""
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([BIN / "plexus", *map(str, arguments)], stdin=side, stdout=side, stderr=side, env=self.environment)
        os.close(side)
        os.write(main, typed.encode())
        shown = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(main)
        return process.wait(20), shown.decode()

    def test_on_a_terminal(self):
        self.apply(CLOUD)
        status, shown = self.on_terminal("port", "list")
        self.assertEqual(status, 0)
        lines = shown.splitlines()
        self.assertLessEqual(max(map(len, lines)), 60, shown)
        self.assertNotIn("ID", lines[0].split())
        self.assertIn("  ID\n", self.good("port", "list"), "in a pipe nothing is cut")
        path = self.dir / "less.yaml"
        path.write_text(CLOUD.replace("  - {name: vm2,", "  # - {name: vm2,"))
        for typed, left in (("n\n", 6), ("\n", 6), ("y\n", 5)):
            status, shown = self.on_terminal("apply", "-f", path, "--prune", typed=typed)
            self.assertIn("Remove 1 object?", shown)
            self.assertEqual(status, 0 if left == 5 else 1, shown)
            self.assertEqual(len(self.good("port", "list", "-o", "name").splitlines()), left)

    def test_store(self):
        if not (BIN / "plexus-store").exists():
            return
        self.apply(CLOUD)
        self.good("store", "check", "--store", f"embedded:{self.api.store}")

    def test_completion_knows_names(self):
        self.apply(CLOUD)
        self.assertEqual(self.good("__complete", "port", "show", "vm"), "vm1\nvm2\n")
        self.assertEqual(self.good("__complete", "port", "list", "--bridge", "=", "d"), "--bridge=db\n")

    def test_restart_and_second_server(self):
        self.apply(CLOUD)
        second = subprocess.run([BIN / "plexus-api", "--store", f"embedded:{self.dir}/other", "--listen", f"unix:{self.api.socket}"],
                                capture_output=True, text=True, timeout=10, check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another process serves", second.stderr)
        self.assertEqual(self.api.stop(signal.SIGKILL), -signal.SIGKILL)
        self.assertTrue(self.api.socket.exists(), "a killed server leaves its socket")
        self.bad("bridge", "list", says="does not answer", status=4)
        self.api.start()
        self.assertEqual(self.apply(CLOUD), f"0 created, 0 updated, {OBJECTS} unchanged\n")
        self.assertEqual(self.api.stop(), 0)
        self.assertFalse(self.api.socket.exists(), "a stopped server removes its socket")

    def test_two_servers_one_store(self):
        self.apply(CLOUD)
        other = self.dir / "second"
        other.mkdir()
        second = Api.__new__(Api)
        second.store, second.socket, second.log = self.api.store, other / "api.sock", other / "log"
        second.listen = (f"unix:{second.socket}",)
        second.start()
        try:
            self.good("bridge", "create", "--name", "new", "--api", f"unix:{second.socket}")
            self.assertIn("new", self.good("bridge", "show", "new"))
        finally:
            self.assertEqual(second.stop(), 0)

    def test_usage_of_the_server(self):
        cases = [(["--lisen", "x"], "did you mean '--listen'?"), (["--listen", "0.0.0.0:80"], "without TLS"),
                 (["--listen"], "needs a value"), (["--listen", "nonsense"], "no address"), (["--log-level", "loud"], "debug")]
        for arguments, says in cases:
            done = subprocess.run([BIN / "plexus-api", *arguments], capture_output=True, text=True, timeout=10, check=False)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(says, done.stderr)
        done = subprocess.run([BIN / "plexus-api", "--store", "nosql:x", "--listen", f"unix:{self.dir}/x"], capture_output=True,
                              text=True, timeout=10, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("embedded", done.stderr)

    def test_agent_commands(self):
        asked = []

        class Agent(http.server.BaseHTTPRequestHandler):
            def answer(self, body):
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                asked.append(self.path)
                self.answer({"/v1/flows": {"flows": [{"match": "in_port=1", "actions": "output:2", "packets": 3, "bytes": 4,
                                                      "idle_ms": 1500, "depends_on": [
                                                          {"kind": "bridge", "name": "blue", "id": "id-of-blue", "tag": "bridge x"},
                                                          {"kind": "bridge", "name": "blue", "id": "id-of-blue",
                                                           "aspect": "its MACs", "tag": "bridge_mac x"},
                                                          {"kind": "port", "id": "id-of-old", "tag": "port x"}]}]},
                             "/v1/connections": {"connections": [
                                 {"tuple": "tcp 10.0.0.1:1 > 10.0.0.9:80", "state": "established", "port": "vm1", "reply_port": "vm2",
                                  "idle_ms": 1500, "translations": [{"kind": "member", "at": "web",
                                                                     "becomes": "tcp 10.0.0.1:1 > 10.0.0.2:8080"}]},
                                 {"tuple": "udp 10.0.0.1:1 > 10.0.0.2:53", "state": "unanswered", "port": "vm1", "reply_port": "vm2",
                                  "idle_ms": 20}], "total": 7},
                             "/v1/ports": {"ports": [{"name": "vm1", "interface": "tap0", "id": "id-of-vm1"}], "failed": []},
                             "/v1/status": {"host": "h1", "synced": True}}[self.path])

            def do_POST(self):
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer({"text": "in vm1\ndropped: no_route"})

            def address_string(self):
                return "agent"

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        run = self.dir / "run" / "h1"
        run.mkdir(parents=True)
        with Server(str(run / "agent.sock"), Agent) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.assertEqual(self.good("trace", "--in", "vm1", "icmp()"), "in vm1\ndropped: no_route\n")
            self.assertEqual(asked[-1], {"port": "vm1", "packet": "icmp()"})
            self.assertEqual(self.good("connections", "--host", "h1"),
                             "tcp 10.0.0.1:1 > 10.0.0.9:80  established  vm1 to vm2, idle 1.5 s\n"
                             "    member at web: tcp 10.0.0.1:1 > 10.0.0.2:8080\n"
                             "udp 10.0.0.1:1 > 10.0.0.2:53  unanswered  vm1 to vm2, idle 0.0 s\n"
                             "7 connections, 2 of them listed\n")
            self.good("trace", "--host", "h1", "--interface", "tap0", "x")
            self.assertEqual(asked[-1], {"port": "id-of-vm1", "packet": "x"})
            self.bad("trace", "--interface", "tap1", "x", says="did you mean 'tap0'?")
            self.good("trace", "--tunnel-key", "77", "x")
            self.assertEqual(asked[-1], {"tunnel_key": 77, "packet": "x"})
            self.assertEqual(self.good("flows"), "in_port=1\n    output:2   3 packets, 4 bytes, idle 1.5 s\n1 flow\n")
            self.assertEqual(self.good("flows", "--why"),
                             "in_port=1\n    output:2   3 packets, 4 bytes, idle 1.5 s\n    because of\n"
                             "        bridge blue (id-of-blue): its MACs\n        port (gone) (id-of-old)\n1 flow\n")
            self.assertEqual(json.loads(self.good("flows", "--json"))["flows"][0]["packets"], 3)
            self.assertEqual(self.good("agent", "ports"), "NAME  INTERFACE  ID\nvm1   tap0       id-of-vm1\n")
            self.assertRegex(self.good("agent", "status", "--agent", f"unix:{run}/agent.sock"), r"host: +h1\nsynced: +true\n")
            self.bad("flows", "--host", "h11", says="did you mean 'h1'?", status=4)
            server.shutdown()


if __name__ == "__main__":
    unittest.main(verbosity=2)
