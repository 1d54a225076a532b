#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plexus and plexus-api as a user meets them: processes, a unix socket, a store in a folder. Standard library only."""
import http.server
import json
import os
import pathlib
import signal
import socketserver
import subprocess
import tempfile
import threading
import time
import unittest

BIN = pathlib.Path(os.environ["PLEXUS_BIN"])

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
        for address in self.listen:
            command += ["--listen", address]
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
        self.assertRegex(table[0], r"^NAME +BRIDGE +HOST +INTERFACE +MAC +ADDRESSES +ID$")
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
        self.bad("port", "create", "--name", "a", says="needs bridge or router")
        self.bad("port", "create", "--name", "a", "--bridge", "web", "--mac", "x", says="six bytes like")
        self.bad("bridge", "show", "wbe", says="did you mean 'web'?")
        self.bad("bridge", "delete", "wbe", says="did you mean 'web'?")
        self.bad("brigde", "list", says="did you mean 'bridge'?", status=2)
        self.bad("apply", "-f", self.dir / "nope", says="nope")
        self.bad("bridge", "list", "--api", f"unix:{self.dir}/nobody", says="does not answer", status=4)
        self.bad("flows", says="no agent", status=4)

    def test_apply_and_delete(self):
        dry = self.good("apply", "--dry-run", "-f", "-", text=CLOUD)
        self.assertIn(f"{OBJECTS} created, 0 updated, 0 unchanged (dry run", dry)
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
                                                      "idle_ms": 1500}]},
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
            self.good("trace", "--host", "h1", "--interface", "tap0", "x")
            self.assertEqual(asked[-1], {"port": "id-of-vm1", "packet": "x"})
            self.bad("trace", "--interface", "tap1", "x", says="did you mean 'tap0'?")
            self.good("trace", "--tunnel-key", "77", "x")
            self.assertEqual(asked[-1], {"tunnel_key": 77, "packet": "x"})
            self.assertEqual(self.good("flows"), "in_port=1\n    output:2   3 packets, 4 bytes, idle 1.5 s\n1 flow\n")
            self.assertEqual(json.loads(self.good("flows", "--json"))["flows"][0]["packets"], 3)
            self.assertEqual(self.good("agent", "ports"), "NAME  INTERFACE  ID\nvm1   tap0       id-of-vm1\n")
            self.assertRegex(self.good("agent", "status", "--agent", f"unix:{run}/agent.sock"), r"host: +h1\nsynced: +true\n")
            self.bad("flows", "--host", "h11", says="did you mean 'h1'?", status=4)
            server.shutdown()


if __name__ == "__main__":
    unittest.main(verbosity=2)
