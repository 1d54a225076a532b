# SPDX-License-Identifier: Apache-2.0
"""Namespaces, interfaces and processes of a benchmark, and how all of them go again.

Everything is named plexus-bench-* and lives below RUN_DIR. Processes end with the driver even if it is killed; what an
earlier, killed run has left is removed at the next start. One benchmark at a time holds the lock.
"""
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import time

PREFIX = "plexus-bench-"
RUN_DIR = os.environ.get("PLEXUS_BENCH_DIR", "/run/plexus-bench")
SYSTEM_CPU, GENERATOR_CPU = 0, 1
FABRIC_MTU, MACHINE_MTU = 1700, 1500

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """Something that the person at the terminal should read; no traceback."""


def _die_with_driver():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(*command, netns=None, check=True, timeout=60):
    """Runs a command, in a namespace if one is given, and returns its output."""
    if netns is not None:
        command = ("nsenter", f"--net=/run/netns/{netns}", *command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout,
                              preexec_fn=_die_with_driver)
    except FileNotFoundError as error:
        raise BenchError(f"{command[0]} is not installed (tools/install-packages run test)") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command)}: not done after {timeout} s") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        shown = " ".join(command)
        raise BenchError(f"{shown if len(shown) < 200 else shown[:200] + ' ...'}: exit status {done.returncode}: {said}")
    return done.stdout


def wait_until(what, seconds, condition):
    """The condition, not the clock, decides."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Lab:
    """Use as a context manager: leaving it removes everything."""

    def __init__(self):
        os.makedirs(RUN_DIR, exist_ok=True)
        self._lock = open(f"{RUN_DIR}.lock", "w", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BenchError("another ./bench is running on this machine") from error
        self._processes = []

    def __enter__(self):
        self._remove()
        os.makedirs(f"{RUN_DIR}/log")
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self._processes):
            stop(process)
        self._remove()
        self._lock.close()

    def _remove(self):
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            if name.startswith(PREFIX):
                run("ip", "netns", "delete", name, check=False)
        # A filesystem of pinned maps lives as long as its mount.
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1] for line in file if line.split()[1].startswith(RUN_DIR + "/")]
        for mount in reversed(mounts):
            run("umount", mount, check=False)
        shutil.rmtree(RUN_DIR, ignore_errors=True)

    def start(self, name, *command, netns=None, cpu=SYSTEM_CPU):
        """Starts a process that runs until the lab closes or stop()."""
        command = ("taskset", "-c", str(cpu), *command)
        if netns is not None:
            command = ("nsenter", f"--net=/run/netns/{netns}", *command)
        with open(f"{RUN_DIR}/log/{name}", "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       preexec_fn=_die_with_driver)
        self._processes.append(process)
        return process

    def namespace(self, name):
        """A new namespace; returns its full name."""
        netns = PREFIX + name
        run("ip", "netns", "add", netns)
        run("ip", "link", "set", "lo", "up", netns=netns)
        for setting in ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1",
                        "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"):
            run("sysctl", "-qw", setting, netns=netns)
        # Where the module is there, bridged packets would visit iptables.
        run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", netns=netns, check=False)
        return netns

    def fabric(self, netns1, netns2):
        """A cable between two hosts: `uplink` in both, 192.0.2.1 and .2, which know each other's MAC for good."""
        run("ip", "link", "add", "uplink", "mtu", str(FABRIC_MTU), "type", "veth", "peer", "name", "uplink",
            "mtu", str(FABRIC_MTU), "netns", netns2, netns=netns1)
        for i, (here, there) in enumerate(((netns1, netns2), (netns2, netns1)), 1):
            run("ip", "addr", "add", f"192.0.2.{i}/24", "dev", "uplink", netns=here)
            run("ip", "link", "set", "uplink", "up", netns=here)
        for i, (here, there) in enumerate(((netns1, netns2), (netns2, netns1)), 1):
            run("ip", "neigh", "replace", f"192.0.2.{3 - i}", "lladdr", mac_of(there, "uplink"), "dev", "uplink",
                "nud", "permanent", netns=here)

    def machine(self, name, host, tap, mac, address, gateway=None):
        """A VM as a namespace: `eth0` in it, `tap` in the host's namespace. Returns the VM's namespace."""
        netns = self.namespace(name)
        run("ip", "link", "add", tap, "mtu", str(MACHINE_MTU), "type", "veth", "peer", "name",
            "eth0", "mtu", str(MACHINE_MTU), "address", mac, "netns", netns, netns=host)
        run("ip", "addr", "add", f"{address}/24", "dev", "eth0", netns=netns)
        run("ip", "link", "set", tap, "up", netns=host)
        run("ip", "link", "set", "eth0", "up", netns=netns)
        if gateway is not None:
            run("ip", "route", "add", "default", "via", gateway, netns=netns)
        return netns


def stop(process):
    """Ends one of our processes: asks first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def mac_of(netns, interface):
    """Its MAC address."""
    return run("ip", "-br", "link", "show", "dev", interface, netns=netns).split()[2]
