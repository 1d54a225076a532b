#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A ZooKeeper client that is not ours (kazoo): what somebody could do who has no manners. Also a program: each line of
its input is one request in JSON, each line of its output the answer; `auth` are (name, secret) pairs."""
import base64
import json
import subprocess
import sys

from stores import ZOOKEEPER, ZOOKEEPER_PORT

ROOT = "/plexus"


class ZooKeeperClient:
    """A session. Use as a context manager."""

    def __init__(self, cloud, auth=()):
        self._process = cloud.fabric.popen(sys.executable, "-B", __file__, json.dumps(list(auth)), stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, verb, path, value=b"", **more):
        """(None or the error's name, what came): verb is get, set, create, delete, list or open_to_all."""
        self._process.stdin.write(json.dumps({"verb": verb, "path": ROOT + path, "value": base64.b64encode(value).decode(),
                                              **more}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        got = answer.get("value")
        return answer.get("error"), base64.b64decode(got) if isinstance(got, str) else got

    def get(self, path):
        error, value = self.ask("get", path)
        assert error is None, (path, error)
        return value

    def set(self, path, value):
        error, _ = self.ask("set", path, value)
        assert error is None, (path, error)


def object_path(kind, object_id):
    return f"/p1/o/{kind}/{object_id[:2]}/{object_id}"


def _serve():
    from kazoo import security
    from kazoo.client import KazooClient
    from kazoo.exceptions import KazooException
    client = KazooClient(f"{ZOOKEEPER}:{ZOOKEEPER_PORT}", auth_data=[("digest", f"{n}:{s}") for n, s in json.loads(sys.argv[1])])
    client.start(timeout=10)
    for line in sys.stdin:
        request = json.loads(line)
        path, value = request["path"], base64.b64decode(request["value"])
        answer = {}
        try:
            verb = request["verb"]
            if verb == "get":
                answer["value"] = base64.b64encode(client.get(path)[0]).decode()
            elif verb == "set":
                client.set(path, value)
            elif verb == "create":
                client.create(path, value)
            elif verb == "delete":
                client.delete(path)
            elif verb == "list":
                answer["value"] = sorted(client.get_children(path))
            elif verb == "open_to_all":
                client.set_acls(path, [security.make_acl("world", "anyone", all=True)])
            else:
                answer["error"] = f"verb {verb}?"
        except KazooException as error:
            answer["error"] = type(error).__name__
        print(json.dumps(answer), flush=True)
    client.stop()
    client.close()


if __name__ == "__main__":
    _serve()
