# SPDX-License-Identifier: Apache-2.0
"""The frames that the generator repeats, and reading one from the fabric."""
import os
import struct
import subprocess
import sys

import lab

HERE = os.path.dirname(os.path.abspath(__file__))
DESTINATION_PORT = 9
FIRST_SOURCE_PORT = 10000
VXLAN_AHEAD = 50  # bytes of outer Ethernet, IPv4, UDP and VXLAN


def mac_bytes(mac):
    return bytes(int(part, 16) for part in mac.split(":"))


def address_bytes(address):
    return bytes(int(part) for part in address.split("."))


def checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_frame(eth_src, eth_dst, src, dst, length=64):
    """Ethernet, IPv4 with TTL 64, UDP with checksum 0 (so that nothing depends on the ports); hexadecimal."""
    payload = length - 42
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + payload, 0, 0, 64, 17, 0)
    addresses = address_bytes(src) + address_bytes(dst)
    head = head[:10] + struct.pack("!H", checksum(head + addresses)) + addresses
    udp = struct.pack("!HHHH", FIRST_SOURCE_PORT, DESTINATION_PORT, 8 + payload, 0)
    return (mac_bytes(eth_dst) + mac_bytes(eth_src) + b"\x08\x00" + head + udp + bytes(payload)).hex()


def is_our_vxlan(frame):
    """VXLAN over IPv4 without options, with a UDP packet to our port inside."""
    return (len(frame) >= VXLAN_AHEAD + 42 and frame[12:15] == b"\x08\x00\x45" and frame[23] == 17
            and frame[36:38] == b"\x12\xb5" and frame[VXLAN_AHEAD + 12:VXLAN_AHEAD + 14] == b"\x08\x00"
            and frame[VXLAN_AHEAD + 36:VXLAN_AHEAD + 38] == struct.pack("!H", DESTINATION_PORT))


def capture_vxlan(netns, interface, send):
    """What a system itself puts on the fabric: the first of our packets seen on `interface` while `send()` is called
    again and again; hexadecimal."""
    command = ("nsenter", f"--net=/run/netns/{netns}", sys.executable, "-B", f"{HERE}/capture_frame.py", interface)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as capture:
        try:
            if capture.stdout.readline() != "listening\n":
                raise lab.BenchError(f"cannot capture on {interface} in {netns}")

            def captured():
                send()
                return capture.poll() is not None

            lab.wait_until(f"a VXLAN packet on {interface} in {netns}", 15, captured)
            return capture.stdout.read().strip()
        finally:
            capture.kill()
