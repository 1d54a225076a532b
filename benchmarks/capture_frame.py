# SPDX-License-Identifier: Apache-2.0
"""Prints the first frame of ours in VXLAN that an interface receives. Runs in the interface's namespace; see frames.py."""
import socket
import sys

from frames import is_our_vxlan

ETH_P_ALL = 3
PACKET_OUTGOING = 4

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as taps:
    taps.bind((sys.argv[1], 0))
    print("listening", flush=True)
    while True:
        frame, where = taps.recvfrom(2048)
        if where[2] != PACKET_OUTGOING and is_our_vxlan(frame):
            print(frame.hex())
            break
