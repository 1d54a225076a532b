# SPDX-License-Identifier: Apache-2.0
"""Programs of ours as child processes, with a log file each."""
import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def programs():
    """Where the programs are: $PLEXUS_BIN, or bin/ below $PLEXUS_BUILD, or the release preset's."""
    if "PLEXUS_BIN" in os.environ:
        return pathlib.Path(os.environ["PLEXUS_BIN"])
    return pathlib.Path(os.environ.get("PLEXUS_BUILD", ROOT / "build" / "release")) / "bin"


class Daemon:
    def __init__(self, command, log):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGTERM, timeout=10):
        """Ends it and returns its exit status; a daemon that does not heed SIGTERM is a failure."""
        if self.alive():
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.log.name} (pid {self.pid}) does not end on {how.name}") from None

    def wait(self, timeout):
        return self.process.wait(timeout)

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0
