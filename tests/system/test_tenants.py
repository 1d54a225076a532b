# SPDX-License-Identifier: Apache-2.0
"""Tenants, tokens and TLS from outside, by curl: what each may see and do, and that secrets stay secret."""
import json
import socket
import subprocess

import pytest

from cloud import Cloud
from netns import wait_until


class Server:
    """The API over TLS, as seen by the bearer of a token."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.certificate, key = cloud.dir / "api.crt", cloud.dir / "api.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key,
                        "-out", self.certificate], check=True, capture_output=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.daemon = cloud.another_api(f"https://127.0.0.1:{self.port}", "api-tls", "--tls-cert", self.certificate, "--tls-key", key)
        cloud.daemons.append(self.daemon)
        self.said = []
        wait_until(lambda: self.ask("GET", "/health")[0] == 200, 10, "the server to answer by TLS")

    def ask(self, method, path, token=None, body=None):
        """(status, JSON or text)"""
        command = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", self.certificate, "-X", method, "-w", "\n%{http_code}"]
        if token is not None:
            command += ["-H", f"Authorization: Bearer {token}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data", json.dumps(body)]
        done = subprocess.run([*command, f"https://localhost:{self.port}{path}"], capture_output=True, text=True, check=False)
        self.said.append(done.stdout)
        text, _, status = done.stdout.rpartition("\n")
        try:
            return int(status or 0), json.loads(text)
        except ValueError:
            return int(status or 0), text


@pytest.fixture(scope="module")
def server():
    cloud = Cloud(hosts=1, start=False, store="embedded")
    try:
        made = Server(cloud)
        made.tokens = {}
        for tenant in ("red", "blue"):
            cloud.ask("POST", "/v1/tenants", {"name": tenant})
            for role in ("tenant", "reader"):
                answer = json.loads(cloud.ask("POST", "/v1/tokens", {"name": f"{tenant}-{role}", "role": role, "tenant": tenant}))
                made.tokens[tenant, role] = answer["secret"]
        made.tokens["ops"] = json.loads(cloud.ask("POST", "/v1/tokens", {"name": "ops", "role": "admin"}))["secret"]
        made.first_said = len(made.said)
        yield made
    except BaseException:
        cloud.print_logs()
        cloud.tear_down(checked=False)
        raise
    cloud.tear_down()


def create(server, tenant, collection, **fields):
    status, made = server.ask("POST", f"/v1/{collection}", server.tokens[tenant, "tenant"], fields)
    assert status == 201, made
    return made


@pytest.fixture(scope="module")
def things(server):
    """Of each tenant: a bridge, a router, a port of each, a route."""
    out = {}
    for n, tenant in enumerate(("red", "blue"), 1):
        bridge = create(server, tenant, "bridges", name="web")
        router = create(server, tenant, "routers", name="edge")
        router_port = create(server, tenant, "ports", name="edge-web", router=router["id"], networks=[f"10.{n}.0.1/24"])
        port = create(server, tenant, "ports", name="vm", bridge=bridge["id"])
        route = create(server, tenant, "routes", name="out", router=router["id"], destination="0.0.0.0/0", port=router_port["id"])
        out[tenant] = {"bridges": bridge, "routers": router, "ports": port, "router_port": router_port, "routes": route}
    return out


KINDS = ("bridges", "routers", "ports", "routes")


def test_nobody_without_a_token(server):
    for token in (None, "plx_wrong", "", server.tokens["ops"][:-1], server.tokens["ops"] + "x"):
        status, answer = server.ask("GET", "/v1/bridges", token)
        assert status == 401, (token, answer)
        assert server.ask("POST", "/v1/bridges", token, {"name": "x"})[0] == 401


def test_no_plain_text(server):
    done = subprocess.run(["curl", "-sS", "--noproxy", "*", "--max-time", "5", f"http://localhost:{server.port}/v1/bridges"], capture_output=True,
                          text=True, check=False)
    assert done.returncode != 0 or "items" not in done.stdout


def test_who_am_i(server):
    assert server.ask("GET", "/v1/whoami", server.tokens["red", "tenant"])[1]["tenant"] == "red"
    assert server.ask("GET", "/v1/whoami", server.tokens["red", "reader"])[1]["role"] == "reader"
    assert server.ask("GET", "/v1/whoami", server.tokens["ops"])[1]["role"] == "admin"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ["tenant", "reader"])
def test_others_things_are_not_seen(server, things, kind, role):
    token, theirs = server.tokens["red", role], things["blue"][kind]
    status, listed = server.ask("GET", f"/v1/{kind}", token)
    assert status == 200 and listed["items"], "its own are seen"
    assert {o["tenant"] for o in listed["items"]} == {"red"}
    for path in (f"/v1/{kind}/{theirs['id']}", f"/v1/{kind}/{theirs['name']}?tenant=blue"):
        status, answer = server.ask("GET", path, token)
        assert status in (403, 404), answer
        assert theirs["id"] not in json.dumps(answer) or theirs["id"] in path
    status, listed = server.ask("GET", f"/v1/{kind}?tenant=blue", token)
    assert status == 403 or not listed["items"], listed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_others_things_are_not_changed(server, things, kind, method):
    theirs = things["blue"][kind]
    status, answer = server.ask(method, f"/v1/{kind}/{theirs['id']}", server.tokens["red", "tenant"],
                                None if method == "DELETE" else {"name": "mine"})
    assert status in (403, 404), answer
    status, now = server.ask("GET", f"/v1/{kind}/{theirs['id']}", server.tokens["blue", "tenant"])
    assert status == 200 and now == theirs | {k: now[k] for k in now if k not in theirs}, (now, theirs)


@pytest.mark.parametrize("collection, own, field, theirs", [
    ("ports", {"name": "p1"}, "bridge", "bridges"),
    ("ports", {"name": "p2", "networks": ["10.9.0.1/24"]}, "router", "routers"),
    ("routes", {"destination": "10.8.0.0/16"}, "router", "routers"),
])
def test_others_things_are_not_referred_to(server, things, collection, own, field, theirs):
    for token in (server.tokens["red", "tenant"],):
        status, answer = server.ask("POST", f"/v1/{collection}", token, own | {field: things["blue"][theirs]["id"]})
        assert status in (403, 404, 409, 422), answer


def test_others_ports_are_not_wired_to(server, things):
    """By peer, and by the port of a route."""
    token = server.tokens["red", "tenant"]
    for kind, field, theirs in (("ports", "peer", "router_port"), ("routes", "port", "router_port")):
        mine = things["red"][kind]
        status, answer = server.ask("PATCH", f"/v1/{kind}/{mine['id']}", token, {field: things["blue"][theirs]["id"]})
        assert status in (403, 404, 409, 422), answer
        batch = {"operations": [{"op": "update", "collection": kind, "id": mine["id"],
                                 "body": {field: things["blue"][theirs]["id"]}}]}
        status, answer = server.ask("POST", "/v1/batch", token, batch)
        assert status in (403, 404, 409, 422), answer


def test_not_in_another_s_name(server):
    status, answer = server.ask("POST", "/v1/bridges", server.tokens["red", "tenant"], {"name": "gift", "tenant": "blue"})
    assert status in (403, 422), answer
    status, listed = server.ask("GET", "/v1/bridges?name=gift", server.tokens["ops"])
    assert status == 200 and not listed["items"]


def test_readers_change_nothing(server, things):
    token = server.tokens["red", "reader"]
    mine = things["red"]["bridges"]["id"]
    assert server.ask("POST", "/v1/bridges", token, {"name": "x"})[0] == 403
    assert server.ask("PATCH", f"/v1/bridges/{mine}", token, {"name": "x"})[0] == 403
    assert server.ask("DELETE", f"/v1/bridges/{mine}", token)[0] == 403
    assert server.ask("POST", "/v1/batch", token, {"operations": [{"op": "delete", "collection": "bridges", "id": mine}]})[0] == 403


@pytest.mark.parametrize("role", ["tenant", "reader"])
def test_what_only_admins_do(server, role):
    token = server.tokens["red", role]
    for method, path, body in (("POST", "/v1/tokens", {"name": "more", "role": "admin"}), ("POST", "/v1/hosts", {"name": "h9"}),
                               ("POST", "/v1/tunnel-zones", {"name": "z", "prefixes": ["192.0.2.0/24"]}),
                               ("POST", "/v1/tenants", {"name": "red"}), ("GET", "/v1/audit", None)):
        status, answer = server.ask(method, path, token, body)
        assert status == 403, (method, path, answer)
    status, listed = server.ask("GET", "/v1/tokens", token)
    assert status == 403 or not any(t.get("tenant") != "red" for t in listed["items"]), listed


def test_quotas(server, things):
    assert things
    status, tenant = server.ask("PATCH", "/v1/tenants/red", server.tokens["ops"], {"max_bridges": 2})
    assert status == 200, tenant
    create(server, "red", "bridges", name="second")
    status, answer = server.ask("POST", "/v1/bridges", server.tokens["red", "tenant"], {"name": "third"})
    assert status in (403, 409, 422, 507) and "red" in json.dumps(answer) and "2" in json.dumps(answer), (status, answer)
    create(server, "blue", "bridges", name="second")


def test_audit_says_who(server, things):
    assert things
    status, log = server.ask("GET", "/v1/audit?limit=500", server.tokens["ops"])
    assert status == 200
    text = json.dumps(log)
    assert "red-tenant" in text and "blue-tenant" in text, text[:1000]


def test_a_token_ends(server):
    status, made = server.ask("POST", "/v1/tokens", server.tokens["ops"], {"name": "short", "role": "reader"})
    assert status == 201
    secret = made["secret"]
    assert server.ask("GET", "/v1/bridges", secret)[0] == 200
    assert server.ask("DELETE", f"/v1/tokens/{made['id']}", server.tokens["ops"])[0] == 200
    wait_until(lambda: server.ask("GET", "/v1/bridges", secret)[0] == 401, 5, "the token to be refused")


def test_secrets_are_shown_once(server):
    """In no later answer, no log, not in the store."""
    for path in ("/v1/tokens", "/v1/tokens/ops", "/v1/audit?limit=500"):
        server.ask("GET", path, server.tokens["ops"])
    secrets = list(server.tokens.values())
    # (The one answer that shows a secret came by the unix socket.)
    for said in server.said:
        for secret in secrets:
            assert secret not in said, said[:300]
    places = [p for p in server.cloud.dir.rglob("*") if p.is_file()]
    assert any("api-tls" in p.name for p in places)
    for path in places:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, path
