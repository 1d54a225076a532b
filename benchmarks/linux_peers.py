# SPDX-License-Identifier: Apache-2.0
"""What Linux itself offers for the same work, each at its best settings: no learning where everything is known, no
multicast snooping, no outer UDP checksum, permanent neighbours, no netfilter."""
import frames
from lab import mac_of, run
from path import Path

ROUTED = ("10.1.1.11", "10.1.2.15")
SWITCHED = ("10.1.1.11", "10.1.1.13")
MAC_FROM, MAC_TO = "02:00:00:00:01:11", "02:00:00:00:01:13"


def make_bridge(netns, members):
    run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", netns=netns)
    run("ip", "link", "set", "br0", "up", netns=netns)
    for member in members:
        run("ip", "link", "set", member, "master", "br0", netns=netns)
        run("bridge", "link", "set", "dev", member, "learning", "off", netns=netns)


def make_vxlan(netns, local, remote):
    run("ip", "link", "add", "vx0", "mtu", "1650", "type", "vxlan", "id", "42", "dstport", "4789", "local", local,
        "remote", remote, "nolearning", "noudpcsum", netns=netns)
    run("ip", "link", "set", "vx0", "up", netns=netns)


class Bridge:
    """Two machines on a bridge."""
    name = "Linux bridge"

    def __init__(self, the_lab):
        self.host = the_lab.namespace("lb")
        the_lab.machine("lb-vm1", self.host, "tap1", MAC_FROM, SWITCHED[0])
        self.sink = the_lab.machine("lb-vm2", self.host, "tap2", MAC_TO, SWITCHED[1])
        make_bridge(self.host, ("tap1", "tap2"))
        run("bridge", "fdb", "add", MAC_FROM, "dev", "tap1", "master", "static", netns=self.host)
        run("bridge", "fdb", "add", MAC_TO, "dev", "tap2", "master", "static", netns=self.host)

    def l2(self):
        return Path(self.host, "tap1", frames.udp_frame(MAC_FROM, MAC_TO, *SWITCHED), self.sink, "eth0")


class Forwarding:
    """Two machines in two subnets, the host is their router."""
    name = "Linux ip_forward"

    def __init__(self, the_lab):
        self.host = the_lab.namespace("lf")
        run("sysctl", "-qw", "net.ipv4.ip_forward=1", netns=self.host)
        the_lab.machine("lf-vm1", self.host, "tap1", MAC_FROM, ROUTED[0])
        self.sink = the_lab.machine("lf-vm2", self.host, "tap2", MAC_TO, ROUTED[1])
        run("ip", "addr", "add", "10.1.1.1/24", "dev", "tap1", netns=self.host)
        run("ip", "addr", "add", "10.1.2.1/24", "dev", "tap2", netns=self.host)
        run("ip", "neigh", "replace", ROUTED[1], "lladdr", MAC_TO, "dev", "tap2", "nud", "permanent", netns=self.host)

    def l3(self):
        frame = frames.udp_frame(MAC_FROM, mac_of(self.host, "tap1"), *ROUTED)
        return Path(self.host, "tap1", frame, self.sink, "eth0", expect_mac=MAC_TO, expect_ttl=63)


class BridgeVxlan:
    """A machine on each of two hosts; a bridge on each, joined by the kernel's VXLAN."""
    name = "Linux bridge + kernel VXLAN"

    def __init__(self, the_lab):
        self.host1, self.host2 = the_lab.namespace("lx1"), the_lab.namespace("lx2")
        the_lab.fabric(self.host1, self.host2)
        self.client = the_lab.machine("lx-vm1", self.host1, "tap1", MAC_FROM, SWITCHED[0])
        self.server = the_lab.machine("lx-vm2", self.host2, "tap1", MAC_TO, SWITCHED[1])
        self.server_address = SWITCHED[1]
        for host, local, remote, near, far in ((self.host1, "192.0.2.1", "192.0.2.2", MAC_FROM, MAC_TO),
                                               (self.host2, "192.0.2.2", "192.0.2.1", MAC_TO, MAC_FROM)):
            make_vxlan(host, local, remote)
            make_bridge(host, ("tap1", "vx0"))
            run("bridge", "fdb", "add", near, "dev", "tap1", "master", "static", netns=host)
            run("bridge", "fdb", "add", far, "dev", "vx0", "master", "static", netns=host)
            run("bridge", "fdb", "append", far, "dev", "vx0", "dst", remote, "self", netns=host)

    def encapsulation(self):
        return Path(self.host1, "tap1", frames.udp_frame(MAC_FROM, MAC_TO, *SWITCHED), self.host2, "uplink",
                    expect_ahead=frames.VXLAN_AHEAD)

    def decapsulation(self, encapsulated):
        return Path(self.host2, "uplink", encapsulated, self.server, "eth0")


class ForwardingVxlan:
    """The host routes from the machine straight into a VXLAN interface: the quickest way to do L3 and VXLAN."""
    name = "Linux ip_forward + kernel VXLAN"

    def __init__(self, the_lab):
        self.host1, self.host2 = the_lab.namespace("lr1"), the_lab.namespace("lr2")
        the_lab.fabric(self.host1, self.host2)
        run("sysctl", "-qw", "net.ipv4.ip_forward=1", netns=self.host1)
        the_lab.machine("lr-vm1", self.host1, "tap1", MAC_FROM, ROUTED[0])
        make_vxlan(self.host1, "192.0.2.1", "192.0.2.2")
        run("ip", "addr", "add", "10.1.1.1/24", "dev", "tap1", netns=self.host1)
        run("ip", "addr", "add", "10.1.2.1/24", "dev", "vx0", netns=self.host1)
        run("ip", "neigh", "replace", ROUTED[1], "lladdr", MAC_TO, "dev", "vx0", "nud", "permanent", netns=self.host1)

    def encapsulation(self):
        frame = frames.udp_frame(MAC_FROM, mac_of(self.host1, "tap1"), *ROUTED)
        return Path(self.host1, "tap1", frame, self.host2, "uplink", expect_mac=MAC_TO, expect_ttl=63,
                    expect_ahead=frames.VXLAN_AHEAD)
