# SPDX-License-Identifier: Apache-2.0
"""Frames of tests, by scapy."""
import logging

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

# pylint: disable=unused-import
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror  # noqa: E402
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA,  # noqa: E402
                                ICMPv6ND_NS, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment)
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Raw  # noqa: E402

BROADCAST = "ff:ff:ff:ff:ff:ff"
EXPERIMENT = 0x88B5  # an EtherType for experiments (IEEE 802): no kernel answers it


def has(token):
    """Frames that contain these bytes."""
    return lambda frame: token in frame


def tunnel_packets(frames):
    """(outer packet, tunnel key, inner frame) of each VXLAN packet among these frames of the fabric."""
    out = []
    for raw in frames:
        outer = Ether(raw)
        if UDP in outer and outer[UDP].dport == 4789:
            vxlan = VXLAN(bytes(outer[UDP].payload))
            out.append((outer, vxlan.vni, vxlan.payload))
    return out


def checksum_ok(frame):
    """Whether every checksum in an IP packet is what it should be: computed again and compared."""
    packet = Ether(frame)
    again = packet.copy()
    for layer in (IP, UDP, TCP, ICMP):
        if layer in again:
            del again[layer].chksum
    for layer in (ICMPv6EchoRequest, ICMPv6EchoReply):
        if layer in again:
            del again[layer].cksum
    return bytes(again) == frame
