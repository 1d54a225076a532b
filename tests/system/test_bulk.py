# SPDX-License-Identifier: Apache-2.0
"""Large packets between machines on two hosts: what arrives is what was sent, byte by byte, whatever cuts and sums it on the way."""
import hashlib
import random
import re
import socket
import threading

import pytest

UDP_SEGMENT = 103  # linux/udp.h
SIZE = 16_000_000
DATAGRAM = 1200


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bytes_by_device(host):
    """What the host has sent through its vxlan device."""
    text = host.namespace.run("ip", "-s", "link", "show", "dev", "plexus-vx0").stdout
    return int(re.search(r"TX:.*\n\s*(\d+)", text).group(1))


@pytest.fixture(params=["offloads", "no offload to the underlay", "no offload at the machine"])
def offloads(cloud, request):
    """Who cuts large packets and sums them: nobody; the underlay's driver; the sending machine."""
    where = {"no offload to the underlay": (cloud.h1.namespace, "uplink"),
             "no offload at the machine": (cloud.vm1.namespace, "eth0")}.get(request.param)
    switched = ("tx", "tso", "gso", "tx-udp-segmentation")
    if where is None:
        yield request.param
        return
    namespace, interface = where
    for feature in switched:
        namespace.run("ethtool", "-K", interface, feature, "off")
    yield request.param
    for feature in switched:
        namespace.run("ethtool", "-K", interface, feature, "on")


@pytest.mark.parametrize("version", ["v4", "v6"])
@pytest.mark.parametrize("target", ["vm3", "vm4"])
def test_tcp_arrives_as_sent(cloud, offloads, target, version):
    """A switched and a routed way."""
    vm = getattr(cloud, target)
    address = getattr(vm, version)
    data = random.Random(7).randbytes(SIZE)
    received = hashlib.sha256()
    with vm.namespace.socket(family_of(address), socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 7001))
        server.listen(1)
        server.settimeout(30)

        def receive():
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                while piece := connection.recv(1 << 20):
                    received.update(piece)

        thread = threading.Thread(target=receive)
        thread.start()
        before = bytes_by_device(cloud.h1)
        errors = vm.namespace.counter("TcpInCsumErrors")
        with cloud.vm1.namespace.socket(family_of(address), socket.SOCK_STREAM) as client:
            client.settimeout(30)
            client.connect((address, 7001))
            client.sendall(data)
        thread.join(60)
    assert received.hexdigest() == hashlib.sha256(data).hexdigest(), offloads
    assert vm.namespace.counter("TcpInCsumErrors") == errors
    assert bytes_by_device(cloud.h1) - before < SIZE / 2, "most of it by our own encapsulation"


@pytest.mark.parametrize("version", ["v4", "v6"])
@pytest.mark.parametrize("target", ["vm3", "vm4"])
def test_large_udp_packets_arrive_as_their_datagrams(cloud, offloads, target, version):
    vm = getattr(cloud, target)
    address = getattr(vm, version)
    assert cloud.vm1.ping(address).ok
    wanted = [bytes([n]) * DATAGRAM for n in range(200)]
    with vm.namespace.socket(family_of(address), socket.SOCK_DGRAM) as server, \
            cloud.vm1.namespace.socket(family_of(address), socket.SOCK_DGRAM) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        server.bind((address, 7002))
        server.settimeout(5)
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, DATAGRAM)
        client.connect((address, 7002))
        client.send(wanted[0])  # a flow of its own
        assert server.recv(65536) == wanted[0]
        for at in range(0, len(wanted), 40):
            client.send(b"".join(wanted[at:at + 40]))
            # Some at a time: no queue on the way overflows.
            assert sorted(server.recv(65536) for _ in range(40)) == wanted[at:at + 40], offloads
