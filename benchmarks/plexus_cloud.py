# SPDX-License-Identifier: Apache-2.0
"""Plexus under test, as users run it: embedded store, API server, an agent on each of two hosts, a topology applied by
the command line. Nothing here knows how the datapath works."""
import json
import os

import frames
from lab import BenchError, RUN_DIR, run, wait_until
from path import BUILD, Path, require

TOPOLOGY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cloud.yaml")
ROUTER_MAC = "02:00:00:00:01:01"
# name: host, MAC, address; the topology says the same
MACHINES = {
    "vm1": ("h1", "02:00:00:00:01:11", "10.1.1.11"),
    "vm2": ("h1", "02:00:00:00:01:12", "10.1.1.12"),
    "vm3": ("h2", "02:00:00:00:01:13", "10.1.1.13"),
    "vm4": ("h2", "02:00:00:00:02:14", "10.1.2.14"),
    "vm5": ("h1", "02:00:00:00:02:15", "10.1.2.15"),
}


class PlexusCloud:
    name = "Plexus"

    def __init__(self, the_lab):
        for program in ("plexus", "plexus-api", "plexus-agent"):
            require(program)
        self._api = f"unix:{RUN_DIR}/api.sock"
        os.environ |= {"PLEXUS_API": self._api, "PLEXUS_RUN": RUN_DIR}
        self.hosts = {name: the_lab.namespace(f"plexus-{name}") for name in ("h1", "h2")}
        the_lab.fabric(self.hosts["h1"], self.hosts["h2"])
        store = f"embedded:{RUN_DIR}/store"
        os.makedirs(f"{RUN_DIR}/store")
        the_lab.start("api", f"{BUILD}/bin/plexus-api", "--store", store, "--listen", self._api)
        wait_until("the API", 10, lambda: self._answers("bridge", "list"))
        self._plexus("tunnel-zone", "create", "--name", "fabric", "--prefixes", "192.0.2.0/24")
        for host, netns in self.hosts.items():
            os.makedirs(f"{RUN_DIR}/state-{host}")
            the_lab.start(f"agent-{host}", f"{BUILD}/bin/plexus-agent", "--name", host, "--run-dir", RUN_DIR,
                          "--state-dir", f"{RUN_DIR}/state-{host}", "--store", store, netns=netns)
        wait_until("both hosts in the store", 15,
                   lambda: len(self._json("host", "list")["items"]) == len(self.hosts))
        self.machines = {
            name: the_lab.machine(f"plexus-{name}", self.hosts[host], f"tap-{name}", mac, address,
                                  gateway=address.rsplit(".", 1)[0] + ".1")
            for name, (host, mac, address) in MACHINES.items()}
        self._plexus("apply", "-f", TOPOLOGY)
        wait_until("all ports active", 15, self._all_ports_active)

    def _plexus(self, *arguments):
        return run(f"{BUILD}/bin/plexus", *arguments)

    def _json(self, *arguments):
        return json.loads(self._plexus(*arguments, "--json"))

    def _answers(self, *arguments):
        try:
            self._plexus(*arguments)
        except BenchError:
            return False
        return True

    def _all_ports_active(self):
        try:
            active = sum(self._json("agent", "status", "--host", host)["ports_active"] for host in self.hosts)
        except (BenchError, KeyError, ValueError):
            return False
        return active == len(MACHINES)

    def _frame(self, destination, through_router=False):
        _, mac, address = MACHINES["vm1"]
        _, to_mac, to_address = MACHINES[destination]
        return frames.udp_frame(mac, ROUTER_MAC if through_router else to_mac, address, to_address)

    def _local(self, destination, **expected):
        return Path(self.hosts["h1"], "tap-vm1", self._frame(destination, bool(expected)),
                    self.machines[destination], "eth0", **expected)

    def _remote(self, destination, **expected):
        return Path(self.hosts["h1"], "tap-vm1", self._frame(destination, bool(expected)), self.hosts["h2"], "uplink",
                    expect_ahead=frames.VXLAN_AHEAD, **expected)

    def l2(self):
        """One bridge, one host."""
        return self._local("vm2")

    def l3(self):
        """Bridge, router, bridge; one host."""
        return self._local("vm5", expect_mac=MACHINES["vm5"][1], expect_ttl=63)

    def l2_encapsulation(self):
        """One bridge, the machine is on the other host."""
        return self._remote("vm3")

    def l3_encapsulation(self):
        """Bridge, router, bridge; the machine is on the other host."""
        return self._remote("vm4", expect_mac=MACHINES["vm4"][1], expect_ttl=63)

    def decapsulation(self, encapsulated):
        """On the other host, from the fabric to the machine, whatever devices the packet has passed."""
        return Path(self.hosts["h2"], "uplink", encapsulated, self.machines["vm3"], "eth0")

    def tcp_l2(self):
        """Client's and server's namespace, server's address."""
        return self.machines["vm1"], self.machines["vm3"], MACHINES["vm3"][2]

    def tcp_l3(self):
        return self.machines["vm1"], self.machines["vm4"], MACHINES["vm4"][2]
