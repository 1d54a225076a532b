# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's user-space datapath under test: the peer of ./bench setup and ./bench fairness.

A bridge of kind netdev over the same interfaces, each read and written by AF_PACKET sockets in the switch's main thread, on one CPU.
The same destinations are in its OpenFlow table, one rule each that does what the router does: TTL, MAC addresses. It may have as many
flows as there are classes. Everything of it is in directories of its own."""
import os
import re
import shutil
import time

from lab import RUN_DIR, BenchError, run, stop, wait_until

PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-vswitchd", "ovs-ofctl", "ovs-appctl")
FLOW_LIMIT = 200_000
PRIORITY = "10"  # real time, as Plexus has here; its threads take turns


def missing():
    return [p for p in PROGRAMS if shutil.which(p) is None]


class OvsUserspace:
    """Use as a context manager, with the interfaces in place."""
    name = "Open vSwitch, user space"

    def __init__(self, lab, netns, machines, destinations, sink_mac):
        self._lab, self._netns, self._dir = lab, netns, f"{RUN_DIR}/ovs"
        self._machines, self._destinations, self._sink_mac = machines, destinations, sink_mac
        self._environment = {name: self._dir for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")}
        self._processes = []

    def __enter__(self):
        if absent := missing():
            raise BenchError(f"no {', '.join(absent)}: tools/install-packages bench")
        shutil.rmtree(self._dir, ignore_errors=True)
        os.makedirs(self._dir)
        os.environ |= self._environment
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            stop(process)
        # The bridge and the datapath are tap devices of their own.
        for device in ("br0", "ovs-netdev"):
            run("ip", "link", "delete", device, netns=self._netns, check=False)
        for name in self._environment:
            os.environ.pop(name, None)
        shutil.rmtree(self._dir, ignore_errors=True)

    def _start(self):
        run("ovsdb-tool", "create", f"{self._dir}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        self._processes.append(self._lab.start("ovs-db", "ovsdb-server", f"{self._dir}/conf.db",
                                               f"--remote=punix:{self._dir}/db.sock",
                                               f"--unixctl={self._dir}/db.ctl", netns=self._netns))
        wait_until("ovsdb-server", 10, lambda: os.path.exists(f"{self._dir}/db.sock"))
        self._vsctl("--no-wait", "init")
        self._vsctl("--no-wait", "set", "Open_vSwitch", ".", f"other_config:flow-limit={FLOW_LIMIT}")
        self._processes.append(self._lab.start("ovs-vswitchd", "chrt", "--rr", PRIORITY, "ovs-vswitchd",
                                               f"unix:{self._dir}/db.sock", f"--unixctl={self._dir}/switch.ctl", netns=self._netns))
        ports = ["tap-sink", *(f"tap{m}" for m in range(self._machines))]
        self._vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=secure")
        for port in ports:
            self._vsctl("add-port", "br0", port)
        with open(f"{self._dir}/flows", "w", encoding="utf-8") as file:
            for n in range(self._destinations):
                address = f"10.{64 + n // 65536}.{n // 256 % 256}.{n % 256}"
                file.write(f"priority=10,ip,nw_dst={address},actions=dec_ttl,set_field:02:00:00:00:02:01->eth_src,"
                           f"set_field:{self._sink_mac}->eth_dst,output:tap-sink\n")
        run("ovs-ofctl", "--names", "add-flows", f"unix:{self._dir}/br0.mgmt", f"{self._dir}/flows", netns=self._netns,
            timeout=120)

    def _vsctl(self, *arguments):
        return run("ovs-vsctl", f"--db=unix:{self._dir}/db.sock", *arguments, netns=self._netns, timeout=60)

    def _ask(self, *arguments):
        return run("ovs-appctl", "-t", f"{self._dir}/switch.ctl", *arguments, netns=self._netns, timeout=60)

    def forget(self):
        """No flows, neither in the datapath nor in what the switch remembers of it (without the second it would not install them again),
        and a flow limit that earlier runs have not lowered."""
        self._ask("revalidator/purge")
        self._ask("upcall/set-flow-limit", str(FLOW_LIMIT))
        wait_until("Open vSwitch without flows", 10, lambda: self.flows() == 0)
        time.sleep(0.2)

    def flows(self):
        """How many there are in the datapath."""
        return int(re.search(r"flows: (\d+)", self._ask("dpctl/show")).group(1))

    def nanoseconds(self):
        """CPU time of the switch so far, in hundredths of a second."""
        with open(f"/proc/{self._processes[1].pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 10_000_000
