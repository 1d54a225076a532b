# SPDX-License-Identifier: Apache-2.0
"""OVN under test: its two databases, northd, one chassis with a datapath that is only memory. The peer of ./bench control.

Everything runs in a network namespace with its own directories; nothing of a system-wide OVN is touched. The client is
ovn-nbctl as a daemon, which keeps its connection and its copy of the database, as our client keeps its connection."""
import os
import shutil
import signal
import subprocess
import time

from control_topology import address, interface, mac
from lab import RUN_DIR, BenchError, run, wait_until

PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-vswitchd", "ovn-northd", "ovn-controller", "ovn-nbctl",
            "ovn-sbctl")


def missing():
    return [p for p in PROGRAMS if shutil.which(p) is None]


class Ovn:
    """Use as a context manager."""
    name = "OVN, one chassis"

    def __init__(self, lab):
        self._lab, self._dir = lab, f"{RUN_DIR}/ovn"
        self._saved = dict(os.environ)

    def __enter__(self):
        if absent := missing():
            raise BenchError(f"no {', '.join(absent)}: tools/install-packages bench")
        run("rm", "-rf", self._dir)
        os.makedirs(self._dir)
        os.environ |= {name: self._dir for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR",
                                                    "OVN_RUNDIR", "OVN_LOGDIR", "OVN_DBDIR")}
        os.environ["OVN_NB_DB"] = self._at("nb")
        os.environ["OVN_SB_DB"] = self._at("sb")
        self.netns = self._lab.namespace("ovn")
        self._processes = []
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if os.path.exists(self._file("nbctl.pid")):
            with open(self._file("nbctl.pid"), encoding="utf-8") as file:
                os.kill(int(file.read()), signal.SIGTERM)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        run("ip", "netns", "delete", self.netns, check=False)
        shutil.rmtree(self._dir, ignore_errors=True)
        os.environ.clear()
        os.environ.update(self._saved)

    def _at(self, database):
        return f"unix:{self._dir}/{database}.sock"

    def _file(self, name):
        return f"{self._dir}/{name}"

    def _start(self, name, *command):
        self._processes.append(self._lab.start(f"ovn-{name}", *command, netns=self.netns, cpu="0-1"))

    def _start_all(self):
        for database, schema in (("conf", "/usr/share/openvswitch/vswitch.ovsschema"),
                                 ("nb", "/usr/share/ovn/ovn-nb.ovsschema"), ("sb", "/usr/share/ovn/ovn-sb.ovsschema")):
            run("ovsdb-tool", "create", self._file(f"{database}.db"), schema)
            self._start(database, "ovsdb-server", self._file(f"{database}.db"),
                        f"--remote=p{self._at(database)}", f"--unixctl={self._file(database + '.ctl')}")
            wait_until(f"OVN's database {database}", 10, lambda d=database: os.path.exists(self._file(f"{d}.sock")))
        self._vsctl("--no-wait", "init")
        self._start("vswitchd", "ovs-vswitchd", self._at("conf"), "--enable-dummy=override", "--disable-system",
                    f"--unixctl={self._file('vswitchd.ctl')}")
        self._start("northd", "ovn-northd", f"--ovnnb-db={self._at('nb')}", f"--ovnsb-db={self._at('sb')}",
                    f"--unixctl={self._file('northd.ctl')}")
        self._vsctl("set", "Open_vSwitch", ".", "external_ids:system-id=ch1", f"external_ids:ovn-remote={self._at('sb')}",
                    "external_ids:ovn-encap-type=geneve", "external_ids:ovn-encap-ip=127.0.0.1", "--", "--may-exist",
                    "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail-mode=secure")
        self._start("controller", "ovn-controller", self._at("conf"), f"--unixctl={self._file('controller.ctl')}")
        # Its daemon leaves our process group: ended by its pid file.
        os.environ["OVN_NB_DAEMON"] = run("ovn-nbctl", "--detach", f"--pidfile={self._file('nbctl.pid')}",
                                          f"--log-file={self._file('nbctl.log')}", netns=self.netns).strip()
        self.nbctl("--wait=hv", "sync")

    def _vsctl(self, *arguments):
        return run("ovs-vsctl", f"--db={self._at('conf')}", *arguments, netns=self.netns, timeout=120)

    def nbctl(self, *arguments):
        return run("ovn-nbctl", *arguments, timeout=900)

    def build(self, size):
        """The same topology as ours, one port of each switch bound; returns the seconds it took."""
        start = time.monotonic()
        self.nbctl("lr-add", "r0")
        for b in range(1, size.bridges + 1):
            commands = ["ls-add", f"s{b}", "--", "lrp-add", "r0", f"r0-s{b}", f"00:00:00:00:{b // 256:02x}:{b % 256:02x}",
                        f"10.{b // 256}.{b % 256}.1/24", "--", "lsp-add", f"s{b}", f"s{b}-r0", "--", "lsp-set-type",
                        f"s{b}-r0", "router", "--", "lsp-set-addresses", f"s{b}-r0", "router", "--", "lsp-set-options",
                        f"s{b}-r0", f"router-port=r0-s{b}"]
            for p in range(1, size.ports + 1):
                commands += ["--", *self._port(f"p{b}-{p}", b, p)]
            self.nbctl(*commands)
        for b in range(1, size.bridges + 1):
            self._vsctl("add-port", "br-int", interface(b, 1), "--", "set", "interface", interface(b, 1), "type=dummy",
                        f"external_ids:iface-id=p{b}-1")
        self.nbctl("--wait=hv", "sync")
        return time.monotonic() - start

    @staticmethod
    def _port(name, bridge, port):
        return ["lsp-add", f"s{bridge}", name, "--", "lsp-set-addresses", name, f"{mac(bridge, port)} {address(bridge, port)}"]

    def add_port(self, name, bridge, port):
        """Milliseconds until the chassis has acknowledged one more port."""
        start = time.monotonic_ns()
        self.nbctl("--wait=hv", *self._port(name, bridge, port))
        return (time.monotonic_ns() - start) / 1e6

    def group_of_all(self, size):
        """All ports in one port group that receives nothing but what is allowed; returns the seconds it took."""
        start = time.monotonic()
        ports = [f"p{b}-{p}" for b in range(1, size.bridges + 1) for p in range(1, size.ports + 1)]
        self.nbctl("--wait=hv", "pg-add", "pg1", *ports, "--", "acl-add", "pg1", "from-lport", "1000",
                   "inport==@pg1 && ip4", "allow-related", "--", "acl-add", "pg1", "to-lport", "900",
                   "outport==@pg1 && ip", "drop")
        return time.monotonic() - start

    def add_group_rule(self, port):
        """Milliseconds until the chassis has acknowledged that all members may receive from all on one TCP port."""
        start = time.monotonic_ns()
        self.nbctl("--wait=hv", "acl-add", "pg1", "to-lport", "1000",
                   f"outport==@pg1 && ip4 && ip4.src==$pg1_ip4 && tcp.dst=={port}", "allow-related")
        return (time.monotonic_ns() - start) / 1e6
