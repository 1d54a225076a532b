#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""plexus-scenario refuses two objects of one type and name, which would be one: whatever a scenario then shows, it is not what it says."""
import os
import pathlib
import subprocess
import tempfile
import unittest

SCENARIO = pathlib.Path(os.environ["PLEXUS_BIN"]) / "plexus-scenario"
CHAINS = "  chains: [{name: door}, {name: gate}]\n"


class RefusedTest(unittest.TestCase):
    def run_text(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "twins.scn"
            path.write_text(f"# SPDX-License-Identifier: Apache-2.0\n# Pins: a test\n# Matters: to it\n{text}", encoding="utf-8")
            return subprocess.run([SCENARIO, path], timeout=30, capture_output=True, text=True, check=False)

    def test_in_one_block(self):
        done = self.run_text("topology\n" + CHAINS +
                             "  rules:\n    - {chain: door, name: rest, position: 1, action: drop}\n"
                             "    - {chain: gate, name: rest, position: 1, action: drop}\n")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("rules[1]: this block has a rule rest already", done.stdout + done.stderr)

    def test_in_another_chain(self):
        done = self.run_text("topology\n" + CHAINS + "  rules: [{chain: door, name: rest, position: 1, action: drop}]\n"
                             "apply\n  rules: [{chain: gate, name: rest, position: 1, action: drop}]\n")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("rule rest: one of this name is in another chain", done.stdout + done.stderr)

    def test_a_change_is_none(self):
        done = self.run_text("topology\n" + CHAINS + "  rules: [{chain: door, name: rest, position: 1, action: drop}]\n"
                             "apply\n  rules: [{chain: door, name: rest, position: 2}]\n")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
