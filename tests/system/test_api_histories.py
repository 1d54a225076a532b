# SPDX-License-Identifier: Apache-2.0
"""Random histories over HTTP: four clients ask two API servers for whatever comes to their minds, one of which is killed and
started again meanwhile. The store is whole in the end, what was said to be made is there, and no two changes both followed
from the same version. PLEXUS_TEST_SEEDS says how many histories; PLEXUS_TEST_SEED which is the first."""
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from daemon import ROOT, Daemon, programs
from netns import PREFIX, wait_until

CLIENTS, REQUESTS, KILLS = 4, 40, 2
# Taken, referred to, changed, gone, wrong: what others did meanwhile, or what makes no sense.
REFUSALS = {404, 409, 412, 422}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Server:
    """An API server that can be killed and started again."""

    def __init__(self, directory, number, store):
        self.socket = str(directory / f"api{number}.sock")
        self._command = [programs() / "plexus-api", "--store", store, "--listen", f"unix:{self.socket}", "--log-level", "warn"]
        self._log = directory / f"api{number}.log"
        self.start()

    def start(self):
        self.daemon = Daemon(self._command, self._log)

    def answers(self):
        assert self.daemon.alive(), f"an API server ended:\n{self.daemon.text()}"
        try:
            return ask(self, "GET", "/health")[0] == 200
        except OSError:
            return False

    def kill(self):
        self.daemon.process.kill()
        self.daemon.wait(10)


def ask(server, method, path, body=None, headers=None):
    """(status, JSON, ETag); OSError or HTTPException when the server has gone."""
    connection = UnixConnection(server.socket)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else None, response.headers.get("ETag")
    finally:
        connection.close()


class History:
    """What all clients know, and what must hold in the end."""

    def __init__(self, servers):
        self.servers = servers
        self.lock = threading.Lock()
        self.seen = collections.defaultdict(dict)  # collection -> id -> ETag as it was last seen
        self.made, self.removed = set(), set()  # devices: (collection, id), said to be made; asked to be removed
        self.changed = collections.Counter()  # (id, ETag) -> changes that were said to follow from it
        self.statuses = collections.Counter()
        self.troubles = []
        self.going_on = True  # somebody is still to be killed


class Client(threading.Thread):
    def __init__(self, history, seed):
        super().__init__()
        self.history, self.random = history, random.Random(seed)

    def run(self):
        done = 0
        while done < REQUESTS or (self.history.going_on and done < 20 * REQUESTS):
            done += 1
            try:
                self.random.choice((self.create_device, self.create_port, self.create_port, self.create_route, self.look, self.patch,
                                    self.patch, self.link, self.put, self.remove, self.remove, self.batch, self.batch))()
            except (OSError, http.client.HTTPException):
                # Killed just now: the outcome is unknown.
                with self.history.lock:
                    self.history.statuses["no answer"] += 1
                time.sleep(0.02)
            except Exception as error:  # pylint: disable=broad-except
                self.history.troubles.append(f"{type(error).__name__}: {error}")
                return

    # ---- what to ask ----

    def name(self):
        return f"n{self.random.randrange(12)}"

    def any(self, collection):
        """The id of one that was seen, and its ETag then."""
        with self.history.lock:
            known = sorted(self.history.seen[collection].items())
        return self.random.choice(known) if known else (None, None)

    def port(self):
        kind = self.random.choice(("bridge", "bridge", "router"))
        device, _ = self.any(f"{kind}s")
        body = {"name": self.name(), kind: device or self.id()}
        if kind == "router":
            body["networks"] = [f"10.{self.random.randrange(4)}.{self.random.randrange(3)}.1/24"]
        elif self.random.random() < 0.7:
            body["mac"] = self.mac()
        return body

    def id(self):
        return f"{self.random.getrandbits(32):08x}-0000-4000-8000-{self.random.getrandbits(48):012x}"

    def mac(self):
        return f"02:00:00:00:00:{self.random.randrange(8):02x}"

    # ---- asking ----

    def ask(self, method, path, body=None, headers=None):
        status, answer, etag = ask(self.random.choice(self.history.servers), method, path, body, headers)
        with self.history.lock:
            self.history.statuses[f"{method} {status}"] += 1
            if status >= 400 and status not in REFUSALS:
                self.history.troubles.append(f"{method} {path} {body}: {status} {answer}")
        return status, answer, etag

    def create(self, collection, body):
        status, answer, etag = self.ask("POST", f"/v1/{collection}", body)
        if status == 201:
            with self.history.lock:
                self.history.seen[collection][answer["id"]] = etag
                self.history.made.add((collection, answer["id"]))

    def create_device(self):
        self.create(self.random.choice(("bridges", "routers")), {"name": self.name()})

    def create_port(self):
        self.create("ports", self.port())

    def create_route(self):
        router, _ = self.any("routers")
        port, _ = self.any("ports")
        body = {"name": self.name(), "router": router or self.id(), "destination": f"10.{self.random.randrange(8)}.0.0/16"}
        self.create("routes", {**body, "port": port or self.id()} if self.random.random() < 0.7 else {**body, "kind": "blackhole"})

    def look(self):
        collection = self.random.choice(("bridges", "routers", "ports", "routes"))
        status, answer, _ = self.ask("GET", f"/v1/{collection}")
        assert status == 200, answer
        for item in self.random.sample(answer["items"], min(4, len(answer["items"]))):
            status, _, etag = self.ask("GET", f"/v1/{collection}/{item['id']}")
            if status == 200:
                with self.history.lock:
                    self.history.seen[collection][item["id"]] = etag

    def change(self, method, collection, body):
        which, etag = self.any(collection)
        if which is None:
            return
        guarded = etag is not None and self.random.random() < 0.5
        status, _, new = self.ask(method, f"/v1/{collection}/{which}", body, {"If-Match": etag} if guarded else {})
        if status != 200:
            return
        with self.history.lock:
            self.history.seen[collection][which] = new
            # (One that changes nothing leaves the version as it is.)
            if guarded and new != etag:
                self.history.changed[which, etag] += 1

    def patch(self):
        if self.random.random() < 0.5:
            self.change("PATCH", "ports", {"admin_up": self.random.random() < 0.5, "mac": self.mac()})
        else:
            self.change("PATCH", self.random.choice(("bridges", "routers")), {"name": self.name()})

    def put(self):
        self.change("PUT", self.random.choice(("bridges", "routers")), {"name": self.name(), "admin_up": self.random.random() < 0.5})

    def link(self):
        self.change("PATCH", "ports", {"peer": self.random.choice((self.any("ports")[0], None))})

    def remove(self):
        collection = self.random.choice(("bridges", "routers", "ports", "ports", "routes"))
        which, etag = self.any(collection)
        if which is None:
            return
        with self.history.lock:
            self.history.removed.add((collection, which))
        guarded = etag is not None and self.random.random() < 0.3
        self.ask("DELETE", f"/v1/{collection}/{which}", None, {"If-Match": etag} if guarded else {})

    def batch(self):
        device = self.id()
        operations = [{"op": "create", "collection": "bridges", "body": {"id": device, "name": self.name()}},
                      {"op": "create", "collection": "ports", "body": {"name": self.name(), "bridge": device, "mac": self.mac()}}]
        port, etag = self.any("ports")
        if port is not None:
            update = {"op": "update", "collection": "ports", "id": port, "body": {"mac": self.mac()}}
            operations.append(update | ({"if_match": etag} if etag and self.random.random() < 0.5 else {}))
        gone, _ = self.any("routes")
        if gone is not None and self.random.random() < 0.5:
            operations.append({"op": "delete", "collection": "routes", "id": gone})
        self.random.shuffle(operations)
        status, _, _ = self.ask("POST", "/v1/batch", {"operations": operations})
        if status == 200:
            with self.history.lock:
                self.history.seen["bridges"][device] = None
                self.history.made.add(("bridges", device))


def check(store):
    return subprocess.run([programs() / "plexus-store", "--store", store, "check"], capture_output=True, text=True, timeout=60, check=False)


def run_history(directory, store, seed):
    dice = random.Random(seed)
    servers = [Server(directory, n, store) for n in (1, 2)]
    try:
        for server in servers:
            wait_until(server.answers, 20, "an API server to answer")
        history = History(servers)
        clients = [Client(history, f"{seed}-{n}") for n in range(CLIENTS)]
        for client in clients:
            client.start()
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 0.25))
            victim = dice.choice(servers)
            victim.kill()
            victim.start()
            wait_until(victim.answers, 20, "the API server that was killed to answer")
        history.going_on = False
        for client in clients:
            client.join(120)
            assert not client.is_alive(), "a client waits for ever"
        assert not history.troubles, "\n".join(history.troubles[:5])
        twice = [key for key, count in history.changed.items() if count > 1]
        assert not twice, f"changed twice from the same version: {twice}"
        there = {(collection, item["id"]) for collection in ("bridges", "routers")
                 for item in ask(servers[0], "GET", f"/v1/{collection}")[1]["items"]}
        lost = {made for made in history.made - history.removed - there if made[0] in ("bridges", "routers")}
        assert not lost, f"said to be made, and not there: {lost}"
        for server in servers:
            assert server.daemon.stop() == 0, server.daemon.text()
        # Nobody writes any more: what is there is one state.
        done = check(store)
        assert done.returncode == 0, done.stdout + done.stderr
        return history.statuses
    finally:
        for server in servers:
            if server.daemon.alive():
                server.kill()


@pytest.fixture(scope="module")
def zookeeper():
    """ADDRESS:PORT of a server."""
    if "PLEXUS_TEST_ZOOKEEPER" in os.environ:
        yield os.environ["PLEXUS_TEST_ZOOKEEPER"]
        return
    directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-zk-")
    program = ROOT / "tools" / "zookeeper-server"
    try:
        yield subprocess.run([program, "start", directory], env={**os.environ, "PLEXUS_ZOOKEEPER_OWNER": str(os.getpid())},
                             check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    finally:
        subprocess.run([program, "stop", directory], check=False, capture_output=True)
        shutil.rmtree(directory)


def run_histories(address_of, count):
    first = int(os.environ.get("PLEXUS_TEST_SEED", random.randrange(1_000_000)))
    statuses = collections.Counter()
    for seed in range(first, first + count):
        directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-hist-"))
        try:
            statuses += run_history(directory, address_of(directory, seed), seed)
        except BaseException:
            print(f"the history of PLEXUS_TEST_SEED={seed}")
            for log in directory.glob("*.log"):
                print(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}")
            raise
        finally:
            shutil.rmtree(directory)
    print(f"{count} histories from seed {first}: {dict(sorted(statuses.items()))}")
    # Histories in which nothing works show nothing.
    for what in ("POST 201", "POST 200", "PATCH 200", "DELETE 200", "no answer"):
        assert statuses[what] > 0, statuses


def embedded_address(directory, _seed):
    return f"embedded:{directory}/store"


def test_histories_embedded():
    run_histories(embedded_address, 3)


def test_histories_zookeeper(zookeeper):
    run_histories(lambda _, seed: f"zookeeper:{zookeeper}/histories/{os.getpid()}-{seed}", 3)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["embedded", "zookeeper"])
def test_many_histories(kind, request):
    seeds = int(os.environ.get("PLEXUS_TEST_SEEDS", "100"))
    if kind == "embedded":
        return run_histories(embedded_address, seeds)
    server = request.getfixturevalue("zookeeper")
    return run_histories(lambda _, seed: f"zookeeper:{server}/histories/{os.getpid()}-{seed}", seeds)
