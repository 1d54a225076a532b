# SPDX-License-Identifier: Apache-2.0
"""How soon an agent forwards that starts from its disk snapshot while there is no store, and how much memory it takes.

The agent is the real one, with its kernel programs, and a machine sends to another through it. Its host has two of the
topology's ports; all others are on other hosts, bound there."""
import ctypes
import os
import select
import socket
import subprocess
import threading
import time

from control_cloud import CLOUD_DIR, Agent, ControlCloud
from control_topology import address, all_spread, cloud, mac, write
from lab import RUN_DIR, BenchError, run, stop, wait_until
from path import require

OTHER_HOSTS = 20
FROM, TO = (1, 1), (1, 2)  # bridge and port of our two machines
STATE = f"{CLOUD_DIR}/state-h0"

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _socket_in(netns):
    """A raw socket on eth0 of another namespace."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        if _libc.setns(there, _CLONE_NEWNET) != 0:
            raise BenchError("setns")
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        made.bind(("eth0", 0x0800))
    finally:
        _libc.setns(here, _CLONE_NEWNET)
        os.close(here)
        os.close(there)
    return made


def _frame():
    """An IPv4 packet of no protocol anybody answers (RFC 3692's 253)."""
    header = bytes.fromhex("4500002800000000 40fd0000".replace(" ", "")) + bytes(
        int(x) for x in f"{address(*FROM)}.{address(*TO)}".split("."))
    total = sum(int.from_bytes(header[i:i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + (~total & 0xFFFF).to_bytes(2, "big") + header[12:]
    macs = bytes.fromhex((mac(*TO) + mac(*FROM)).replace(":", ""))
    return macs + b"\x08\x00" + header + bytes(20)


def _until_first_packet(start, sender, receiver, patience=60):
    """Seconds from before start() until the first of many packets arrives, one being sent each millisecond."""
    ended = threading.Event()
    frame = _frame()

    def send():
        while not ended.is_set():
            try:
                sender.send(frame)
            except OSError:
                pass
            time.sleep(0.001)

    while select.select([receiver], [], [], 0)[0]:
        receiver.recv(2048)
    begin = time.monotonic()
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        process = start()
        while select.select([receiver], [], [], 0.01)[0] == [] or receiver.recv(2048)[:14] != frame[:14]:
            if time.monotonic() - begin > patience:
                stop(process)
                raise BenchError(f"no packet came through within {patience} s after the agent's start")
        return time.monotonic() - begin, process
    finally:
        ended.set()
        thread.join()


def _placed(bridge, port):
    if (bridge, port) in (FROM, TO):
        return "h0"
    return all_spread(OTHER_HOSTS)(bridge, port)


def _list(api, collection):
    items, after = [], ""
    while True:
        page = api.get(f"/v1/{collection}?limit=500{after}")
        items += page["items"]
        if "next" not in page:
            return items
        after = f"&after={page['next']}"


def _bind_others(made):
    """Says in the store that all ports are where they are wanted, as their hosts would."""
    lines = "".join(f"{p['host']} {p['id']}\n" for p in _list(made.api, "ports")
                    if "host" in p and not p["interface"].startswith("tap-"))
    done = subprocess.run([require("plexus-bench-swarm"), "bind", "--store", made.address], input=lines, text=True,
                          capture_output=True, check=False, timeout=900)
    if done.returncode != 0:
        raise BenchError(f"binding the ports of other hosts: {done.stderr.strip()}")


def measure(lab, size, runs, say):
    """(case, unit, values) of each case."""
    with ControlCloud(lab, "embedded") as made:
        made.create_hosts(OTHER_HOSTS)
        made.api.ask("POST", "/v1/hosts", {"name": "h0"})
        document = cloud(size, _placed)
        for port in document["ports"]:
            if port.get("host") == "h0":
                port["interface"] = f"tap-{port['name']}"
        write(f"{RUN_DIR}/cloud.json", document)
        seconds, said = made.apply(f"{RUN_DIR}/cloud.json")
        say(f"{said} in {seconds:.1f} s")
        _bind_others(made)
        machines = [lab.machine(f"start-{p}", made.netns, f"tap-p{b}-{p}", mac(b, p), address(b, p)) for b, p in (FROM, TO)]
        sender, receiver = (_socket_in(netns) for netns in machines)
        host_id = next(h["id"] for h in made.api.get("/v1/hosts")["items"] if h["name"] == "h0")

        def start(store=made.address):
            return lab.start("agent-h0", require("plexus-agent"), "--name", "h0", "--host-id", host_id, "--run-dir",
                             CLOUD_DIR, "--state-dir", STATE, "--store", store, netns=made.netns, cpu="0-1")

        with_store, process = _until_first_packet(start, sender, receiver, 300)
        agent = Agent("h0", process)
        wait_until("the agent to be ready", 60, agent.ready)
        say(f"with the store: the first packet after {with_store:.2f} s; {agent.status()['watched_keys']} keys watched")
        before = _newest(STATE)
        wait_until("the snapshot on disk", 60, lambda: _newest(STATE) not in (None, before) or _settled(STATE))
        resident_with_store = agent.resident_bytes() / 2**20
        stop(process)
        # No store: not that it is gone, but that nobody answers there.
        made.api_process.terminate()
        made.api_process.wait()
        nowhere = "zookeeper:127.0.0.1:9" if _knows_zookeeper() else f"embedded:{_no_directory()}"
        first, resident = [], []
        for _ in range(runs):
            # As after a reboot: the kernel has nothing.
            run(require("plexus-agent"), "--name", "h0", "--host-id", host_id, "--run-dir", CLOUD_DIR, "--state-dir", STATE,
                "--store", nowhere, "--leave", netns=made.netns)
            seconds, process = _until_first_packet(lambda: start(nowhere), sender, receiver)
            first.append(seconds)
            time.sleep(1)
            resident.append(Agent("h0", process).resident_bytes() / 2**20)
            stop(process)
        say(f"snapshot on disk: {_size(STATE) / 2**20:.1f} MiB")
        return [(f"start_{size.total}_ports_first_packet_without_store", "s", first),
                (f"start_{size.total}_ports_resident_without_store", "MiB", resident),
                (f"start_{size.total}_ports_first_packet_with_store", "s", [with_store]),
                (f"start_{size.total}_ports_resident_with_store", "MiB", [resident_with_store])]


def _knows_zookeeper():
    return os.path.exists("tools/zookeeper-server")


def _no_directory():
    """A place where no store can be made."""
    path = f"{CLOUD_DIR}/no-store"
    with open(path, "w", encoding="utf-8"):
        pass
    return path


def _files(directory):
    found = []
    for folder, _, names in os.walk(directory):
        found += [os.path.join(folder, name) for name in names if name != "host-id"]
    return found


def _newest(directory):
    return max((os.stat(f).st_mtime_ns for f in _files(directory)), default=None)


def _settled(directory):
    """Something was written, and nothing for longer than the agent waits between two snapshots."""
    newest = _newest(directory)
    return newest is not None and time.time_ns() - newest > 8e9


def _size(directory):
    return max((os.stat(f).st_size for f in _files(directory)), default=0)
