#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""plexus trace follows a copy to the agent of the host where it comes out, and judges the whole way."""
import http.server
import json
import os
import pathlib
import socketserver
import subprocess
import tempfile
import threading
import time
import unittest

PLEXUS = pathlib.Path(os.environ["PLEXUS_BIN"]) / "plexus"

AT_H1 = {"verdict": "forward", "text": "port vm4: out by tunnel",
         "outputs": [{"host": "h2", "tunnel_key": 7, "port": "vm4", "id": "i4", "packet": "as it is then"},
                     {"host": "h9", "tunnel_key": 8, "port": "vm9", "id": "i9", "packet": "not asked"}],
         "steps": [{"kind": "port", "name": "vm4", "text": "out by tunnel"}]}
DELIVERS = {"verdict": "forward", "text": "port vm4: out by tap4",
            "outputs": [{"port": "vm4", "id": "i4", "packet": "p"}], "steps": []}
OF_A_MIRROR = {"verdict": "forward", "reason": "filtered_by_rule", "text": "rule no/1: drop", "advice": "change the rule", "steps": [],
               "outputs": [{"host": "h2", "tunnel_key": 7, "port": "vm4", "id": "i4", "packet": "as it is then", "mirror": True}],
               "blame": {"kind": "rule", "name": "no/1", "text": "drop [filtered_by_rule]"}}
DROPS = {"verdict": "drop", "reason": "stale_key", "text": "tunnel key: means nothing", "outputs": [], "advice": "try again",
         "blame": {"kind": "tunnel key", "text": "means nothing [stale_key]"}, "steps": []}

SILENCE = {"verdict": "too late"}


class Agent(socketserver.ThreadingUnixStreamServer):
    """One that always answers the same, and remembers what it was asked."""

    def __init__(self, folder, name, answer):
        (folder / name).mkdir()
        self.asked = []
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self):
                return name

            def log_message(self, *_):
                pass

            def do_POST(self):
                agent.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if answer is SILENCE:
                    time.sleep(3)
                    return
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(str(folder / name / "agent.sock"), Handler)
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()


class TraceTest(unittest.TestCase):
    def trace(self, there, *options, here=None):
        with tempfile.TemporaryDirectory() as folder:
            h1 = Agent(pathlib.Path(folder), "h1", here or AT_H1)
            h2 = Agent(pathlib.Path(folder), "h2", there)
            done = subprocess.run([PLEXUS, "trace", "--host", "h1", "--in", "vm1", *options, "a packet"], timeout=30,
                                  capture_output=True, text=True, check=False, env={**os.environ, "PLEXUS_RUN": folder})
            for agent in (h1, h2):
                agent.shutdown()
                agent.server_close()
        self.assertEqual(h1.asked, [{"port": "vm1", "packet": "a packet"}])
        self.assertEqual(h2.asked, [{"tunnel_key": 7, "packet": "as it is then"}])
        return done

    def test_goes_on_where_the_copy_comes_out(self):
        done = self.trace(DELIVERS)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "port vm4: out by tunnel\nat host h2:\nport vm4: out by tap4\n")

    def test_met(self):
        done = self.trace(DELIVERS, "--expect", "port:vm4")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("as expected: delivered to port vm9 at host h9, port vm4 at host h2", done.stdout)

    def test_a_mirrors_copy_is_followed_and_delivers_nothing(self):
        done = self.trace(DELIVERS, "--expect", "dropped:filtered_by_rule", here=OF_A_MIRROR)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("at host h2, for a mirror:\nport vm4: out by tap4\n", done.stdout)
        done = self.trace(DELIVERS, "--expect", "delivered", "--json", here=OF_A_MIRROR)
        self.assertEqual(done.returncode, 6, done.stdout + done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["expected"]["stage"], "rule no/1: drop [filtered_by_rule]")
        self.assertTrue(answer["hops"][0]["mirror"])

    def test_not_met_names_the_stage_and_its_host(self):
        done = self.trace(DROPS, "--expect", "port:vm4")
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertIn("not as expected: delivered to port vm9 at host h9", done.stdout)
        self.assertIn("because of tunnel key: means nothing [stale_key] (on host h2)", done.stdout)
        self.assertIn("what would help: try again", done.stdout)

    def test_names_who_does_not_answer(self):
        done = self.trace(SILENCE, "--timeout", "1", "--expect", "port:vm4")
        self.assertIn("host h2: no answer within 1 s\n", done.stdout)
        self.assertNotIn("too late", done.stdout)
        answer = json.loads(self.trace(SILENCE, "--timeout", "1", "--json").stdout)
        self.assertEqual(answer["unanswered"], ["h2"])
        self.assertNotIn("hops", answer)

    def test_as_json(self):
        done = self.trace(DROPS, "--expect", "port:vm4", "--json")
        self.assertEqual(done.returncode, 6, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["expected"]["stage"], "tunnel key: means nothing [stale_key] (on host h2)")
        self.assertFalse(answer["expected"]["met"])
        self.assertEqual([(h["host"], h["trace"]["reason"]) for h in answer["hops"]], [("h2", "stale_key")])


if __name__ == "__main__":
    unittest.main()
