# SPDX-License-Identifier: Apache-2.0
"""What is refused, and whether the message says what to do. Nothing of a refused request may happen."""
import json
import socket
import subprocess

import pytest

from cloud import CommandResult


def refused(answer, *parts, status=1):
    assert answer.status == status, answer
    for part in parts:
        assert part in answer.text, (part, answer)
    assert "terminate" not in answer.text and "Exception" not in answer.text


def test_binding_an_interface_twice(cloud):
    refused(cloud.cli("port", "create", "--name", "twice", "--bridge", "blue", "--host", "h1", "--interface", "tap-vm1",
                      check=False), "tap-vm1", "vm1")
    refused(cloud.cli("port", "update", "vm2", "--interface", "tap-vm1", check=False), "tap-vm1", "vm1")
    assert "twice" not in {p["name"] for p in cloud.items("port")}
    # The same name on another host is another interface.
    cloud.cli("port", "create", "--name", "there", "--bridge", "blue", "--host", "h3", "--interface", "tap-vm1")
    cloud.cli("port", "delete", "there")


@pytest.mark.parametrize("noun, name, holders", [
    ("bridge", "blue", ["vm1", "vm2", "vm3", "blue-core"]),
    ("router", "core", ["core-blue", "core-green"]),
])
def test_deleting_what_is_in_use(cloud, noun, name, holders):
    answer = cloud.cli(noun, "delete", name, check=False)
    refused(answer, name)
    assert any(h in answer.text for h in holders), answer
    assert name in {x["name"] for x in cloud.items(noun)}
    assert cloud.vm1.ping(cloud.vm4.v4).ok


def test_deleting_what_is_not_there(cloud):
    refused(cloud.cli("bridge", "delete", "bleu", check=False), "bleu")
    refused(cloud.cli("port", "update", "vm11", "--admin-up", "false", check=False), "vm11")


@pytest.mark.parametrize("arguments, parts", [
    (["port", "create", "--name", "p", "--bridge", "blue", "--host", "h9", "--interface", "x"], ["h9"]),
    (["port", "create", "--name", "p", "--bridge", "bleu"], ["bleu", "blue"]),
    (["port", "create", "--name", "p", "--bridge", "blue", "--router", "core"], ["bridge", "router"]),
    (["port", "create", "--name", "p", "--bridge", "blue", "--mac", "02:00:00:00:00"], ["mac"]),
    (["port", "create", "--name", "vm1", "--bridge", "blue"], ["vm1"]),
    (["port", "create", "--name", "p", "--bridge", "blue", "--host", "h1", "--interface", "a-name-that-is-too-long"],
     ["interface"]),
    (["port", "create", "--name", "p", "--router", "core", "--networks", "10.1.1.9/24"], ["10.1.1"]),
    (["route", "create", "--router", "core", "--destination", "10.1.0.1/16"], ["destination"]),
    (["route", "create", "--router", "core", "--destination", "10.9.0.0/16", "--kind", "blakhole"], ["blackhole"]),
    (["route", "create", "--router", "core", "--destination", "10.9.0.0/16", "--port", "vm1"], ["vm1"]),
    (["bridge", "create", "--name", "no spaces"], ["name"]),
    (["bridge", "update", "blue", "--tenant", "me"], []),
    (["tunnel-zone", "create", "--name", "z", "--prefixes", "192.0.2.1/24"], ["prefixes"]),
    (["tunnel-zone", "create", "--name", "z", "--prefixes", "192.0.2.0/24", "--udp-port", "65536"], ["udp"]),
])
def test_bad_fields(cloud, arguments, parts):
    answer = cloud.cli(*arguments, check=False)
    assert answer.status in (1, 2), answer
    for part in parts:
        assert part in answer.text, (part, answer)
    assert not {"p", "z", "no spaces"} & {x["name"] for n in ("port", "bridge", "tunnel-zone") for x in cloud.items(n)}


@pytest.mark.parametrize("text, line, parts", [
    ("bridges:\n  - name: b1\n    admin_upp: true\n", 3, ["admin_upp", "admin_up"]),
    ("ports:\n  - name: p1\n    bridge: blue\n    adresses: [10.0.0.1]\n", 4, ["adresses", "addresses"]),
    ("bridges:\n  - name: b1\nrooters:\n  - name: r\n", 3, ["rooters", "routers"]),
    ("bridges:\n  - name: b1\nports:\n  - name: p1\n    bridge: bleu\n", 5, ["bleu", "blue"]),
    ("ports:\n  - name: p1\n    bridge: blue\n    host: h7\n    interface: x\n", 4, ["h7"]),
    ("ports:\n  - name: p1\n    bridge: blue\n    mac: 02:00:00:00:01\n", 4, ["mac"]),
    ("ports:\n  - name: p1\n    bridge: blue\n    addresses: [10.0.0.256]\n", 4, ["10.0.0.256"]),
    ("bridges:\n  - name: b1\n  - name: b1\n", 3, ["b1"]),
    ("bridges:\n  - name: b1\n    name: b2\n", 3, ["name"]),
    ("bridges:\n  - name: b1\n\tadmin_up: true\n", 3, []),
    ("bridges: [\n", None, []),
    ("bridges:\n  - {name: b1\n", None, []),
    ("bridges: yes\n", 1, ["bridges"]),
    ("bridges:\n  - &a {name: b1}\n  - *a\n", 2, []),
    ("- just\n- a list\n", 1, []),
    ("routes:\n  - router: core\n    destination: 10.0.0.0/8\n    next_hop: fd00::1\n    port: core-blue\n", None, ["next_hop"]),
    ("bridges:\n  - name: " + "x" * 5000 + "\n", 2, ["name"]),
    ("\x00\x01\x02", None, []),
    ("[" * 20000, None, []),
])
def test_bad_cloud_files(cloud, tmp_path, text, line, parts):
    """The message names the line and the nearest known word, and nothing is applied."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    before = sum(len(cloud.items(n)) for n in ("bridge", "router", "port", "route"))
    answer = cloud.cli("apply", "-f", file, check=False)
    assert answer.status != 0, answer
    for part in parts:
        assert part in answer.text, (part, answer)
    if line is not None:
        assert f":{line}" in answer.text or f"line {line}" in answer.text, answer
    assert len(answer.text) < 20000
    assert sum(len(cloud.items(n)) for n in ("bridge", "router", "port", "route")) == before


def test_all_mistakes_of_a_file_are_told_at_once(cloud):
    answer = cloud.apply("bridges:\n  - nam: a\nports:\n  - {name: p, bridge: blue, mac: x}\n", check=False)
    assert answer.status != 0
    assert "nam" in answer.text and "mac" in answer.text, answer


def test_a_missing_file(cloud):
    refused(cloud.cli("apply", "-f", "/nowhere/cloud.yaml", check=False), "/nowhere/cloud.yaml")


def test_apply_twice_changes_nothing(cloud):
    document = {"bridges": [{"name": "again"}], "ports": [{"name": "again-p", "bridge": "again"}]}
    cloud.apply(document)
    try:
        before = cloud.items("port")
        cloud.apply(document)
        assert cloud.items("port") == before
        answer = cloud.cli("apply", "--dry-run", "-f", "-", text=json.dumps({"bridges": [{"name": "never"}]}))
        assert "never" in answer.text
        assert "never" not in {b["name"] for b in cloud.items("bridge")}
    finally:
        cloud.cli("delete", "-f", "-", text=json.dumps(document))
    assert "again" not in {b["name"] for b in cloud.items("bridge")}


@pytest.mark.parametrize("arguments, suggestion", [
    (["briges", "list"], "bridge"),
    (["port", "lst"], "list"),
    (["port", "create", "--nmae", "x"], "--name"),
    (["trce"], "trace"),
    (["agent", "staus", "--host", "h1"], "status"),
    (["port", "update", "vm1", "--clear", "adresses"], "addresses"),
])
def test_misspelt_commands_are_guessed(cloud, arguments, suggestion):
    answer = cloud.cli(*arguments, check=False)
    refused(answer, f"'{suggestion}'", status=2)


def test_many_writers_at_once(cloud):
    """No writer has to know of the others."""
    command = [cloud.bin / "plexus", "port", "create", "--bridge", "blue", "--name"]
    running = [subprocess.Popen([*command, f"w{n}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env=cloud.environment) for n in range(30)]
    errors = [p.communicate(timeout=60)[1] for p in running]
    try:
        assert [p.returncode for p in running] == [0] * 30, [e for e in errors if e]
        names = {p["name"] for p in cloud.items("port", "--bridge", "blue")}
        assert {f"w{n}" for n in range(30)} <= names
    finally:
        for n in range(30):
            cloud.cli("port", "delete", f"w{n}", check=False)


def test_one_name_for_many_writers(cloud):
    """Exactly one gets it."""
    command = [cloud.bin / "plexus", "bridge", "create", "--name", "only"]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=cloud.environment)
               for _ in range(20)]
    errors = [p.communicate(timeout=60)[1] for p in running]
    try:
        assert sorted(p.returncode for p in running) == [0] + [1] * 19
        assert all("only" in e for e in errors if e), errors
        assert [b["name"] for b in cloud.items("bridge")].count("only") == 1
    finally:
        cloud.cli("bridge", "delete", "only")


def test_linking_a_port_that_is_linked(cloud):
    cloud.cli("port", "create", "--name", "third", "--bridge", "blue")
    try:
        refused(cloud.cli("port", "update", "third", "--peer", "core-blue", check=False), "core-blue")
        assert cloud.json("port", "show", "blue-core")["peer"] == cloud.json("port", "show", "core-blue")["id"]
        assert cloud.vm1.ping("10.1.1.1").ok
        refused(cloud.cli("port", "update", "third", "--peer", "third", check=False), "third")
    finally:
        cloud.cli("port", "delete", "third")


def test_usage(cloud):
    for arguments in (["--help"], ["port", "--help"], ["port", "create", "--help"], ["--version"]):
        answer = cloud.cli(*arguments)
        assert answer.out and not answer.err
    assert "--mac" in cloud.cli("port", "create", "--help").out
    refused(cloud.cli(check=False), status=2)
    refused(cloud.cli("port", "create", "--name", "p", check=False), "--bridge", "--router", status=2)


def test_asking_an_agent_that_is_not_there(cloud):
    refused(cloud.cli("flows", "--host", "h9", check=False), "h9", status=4)
    refused(cloud.cli("agent", "status", "--host", "../../etc", check=False), status=4)


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 4096, b"POST /v1/bridges HTTP/1.1\r\n"
                                     b"Content-Length: 99999999999\r\n\r\n", b"POST /v1/bridges HTTP/1.1\r\nHost: x\r\n"
                                     b"Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{{{",
                                     b"GET /v1/" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                                     b"DELETE /v1/bridges/../../x HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_garbage_does_not_end_the_servers(cloud, garbage):
    for path in (cloud.dir / "api.sock", cloud.run_dir / "h1" / "agent.sock"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(path))
            try:
                s.sendall(garbage)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
    assert cloud.api.alive() and cloud.h1.agent.alive()
    assert len(cloud.items("bridge")) == 2
    assert cloud.h1.status()["synced"]


@pytest.mark.parametrize("address", ["0.0.0.0:9999", "[::]:9999", "192.0.2.1:9999"])
def test_the_api_listens_on_nothing_public(cloud, address):
    done = CommandResult(subprocess.run([cloud.bin / "plexus-api", "--store", cloud.store.address, "--listen", address],
                                        capture_output=True, text=True, timeout=10, check=False))
    assert done.status == 2 and address in done.text and "without TLS" in done.text, done
