#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual page in docs/ is the one that plexus writes; help and completion scripts work. Standard library only."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

BIN = pathlib.Path(os.environ["PLEXUS_BIN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_API = {**os.environ, "PLEXUS_API": "unix:/nonexistent/plexus.sock"}


def plexus(*arguments):
    return subprocess.run([BIN / "plexus", *arguments], capture_output=True, text=True, timeout=20, check=False, env=NO_API)


class ManualPage(unittest.TestCase):
    def test_is_up_to_date(self):
        written = plexus("man").stdout
        self.assertTrue(written.startswith('.\\" SPDX'))
        self.assertTrue((ROOT / "docs/man/plexus.1").read_text() == written,
                        "docs/man/plexus.1 is stale; write it anew: build/release/bin/plexus man > docs/man/plexus.1")

    @unittest.skipUnless(shutil.which("groff"), "no groff")
    def test_has_no_mistakes(self):
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww"], input=plexus("man").stdout, capture_output=True, text=True,
                              timeout=20, check=True)
        self.assertEqual(done.stderr, "")
        self.assertGreater(len(done.stdout.splitlines()), 300)


class Help(unittest.TestCase):
    def test_everywhere(self):
        """Each command that completion offers has a help text."""
        def walk(path):
            lines = plexus("__complete", *path, "").stdout.splitlines()
            commands = [line.split("\t")[0] for line in lines if "\t" in line and not line.startswith("-")]
            shown = plexus(*path, "--help")
            self.assertEqual(shown.returncode, 0, path)
            self.assertIn("Usage: " + " ".join(["plexus", *path]), shown.stdout)
            return 1 + sum(walk([*path, c]) for c in commands)
        self.assertGreater(sum(walk([c]) for c in ("host", "port", "token", "agent", "apply", "watch")), 25)


class DropReasons(unittest.TestCase):
    def test_are_the_documented_ones(self):
        documented = re.findall(r"(?m)^\| `([a-z0-9_]+)` \|", (ROOT / "docs/drop-reasons.md").read_text())
        self.assertGreater(len(documented), 50)
        for reason in documented:
            done = plexus("trace", "--agent", "unix:/nonexistent/agent", "--in", "vm1", "--expect", f"dropped:{reason}", "x")
            self.assertEqual(done.returncode, 4, f"{reason}: {done.stderr}")
        done = plexus("trace", "--in", "vm1", "--expect", "dropped:no_such", "x")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("there is no drop reason 'no_such'", done.stderr)


class Completion(unittest.TestCase):
    def bash(self, *words):
        """What bash would offer for these words, the last being written."""
        script = f"""
            source <({BIN}/plexus completion bash)
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _plexus
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "--norc", "-c", script, "-", *words], capture_output=True, text=True, timeout=20, check=True,
                              env={**NO_API, "PATH": f"{BIN}:{os.environ['PATH']}"})
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash(self):
        self.assertEqual(self.bash("plexus", "brid"), ["bridge"])
        self.assertIn("migrate", self.bash("plexus", "port", ""))
        self.assertEqual(self.bash("plexus", "port", "update", "x", "--admin-up", "=", "t"), ["true"])
        self.assertEqual(self.bash("plexus", "port", "update", "x", "--admin-up", "="), ["true", "false"])
        self.assertEqual(self.bash("plexus", "port", "show", ""), [], "nobody answers, nobody complains")
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "cloud.yaml").touch()
            self.assertEqual(self.bash("plexus", "apply", "-f", f"{folder}/cl"), [f"{folder}/cloud.yaml"])

    def test_other_shells_read_it(self):
        for shell, check in (("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"]), ("bash", ["bash", "-n"])):
            script = plexus("completion", shell).stdout
            self.assertIn("__complete", script)
            if shutil.which(shell) is None:
                continue
            with tempfile.NamedTemporaryFile("w", suffix=shell) as file:
                file.write(script)
                file.flush()
                done = subprocess.run([*check, file.name], capture_output=True, text=True, timeout=20, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""), shell)


if __name__ == "__main__":
    unittest.main(verbosity=2)
