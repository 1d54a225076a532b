# SPDX-License-Identifier: Apache-2.0
"""Small packets between machines on two hosts: they pass by the vxlan device of the host they come to, and nobody can tell."""
import random
import re
import socket
import struct

import pytest

from netns import wait_until

UDP_SEGMENT = 103  # linux/udp.h


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def out_of_device(host):
    """Packets that have come out of the host's vxlan device."""
    text = host.namespace.run("ip", "-s", "link", "show", "dev", "plexus-vx0").stdout
    return int(re.search(r"RX:.*\n\s*\d+\s+(\d+)", text).group(1))


def decapsulates(host, interface):
    """Whether our program is on the interface."""
    return "from_underlay" in host.namespace.run("tc", "filter", "show", "dev", interface, "ingress").stdout


def udp_pair(cloud, machine, address, port):
    server = machine.namespace.socket(family_of(address), socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind((address, port))
    server.settimeout(5)
    client = cloud.vm1.namespace.socket(family_of(address), socket.SOCK_DGRAM)
    client.connect((address, port))
    return client, server


@pytest.mark.parametrize("version", ["v4", "v6"])
@pytest.mark.parametrize("target", ["vm3", "vm4"])
def test_datagrams_of_every_size_arrive_as_sent(cloud, target, version):
    machine = getattr(cloud, target)
    address = getattr(machine, version)
    assert cloud.vm1.ping(address).ok
    numbers = random.Random(5)
    errors = machine.namespace.counter("UdpInCsumErrors")
    client, server = udp_pair(cloud, machine, address, 7003)
    with client, server:
        client.send(b"first")  # a flow of its own
        assert server.recv(65536) == b"first"
        before = out_of_device(cloud.h2)
        # From 1,500 bytes on in fragments of the machine's own.
        for size in [0, 1, 2, 333, 1200, 1400, 1452, 1473, 3000, 9000, *(numbers.randrange(9000) for _ in range(50))]:
            data = numbers.randbytes(size)
            client.send(data)
            assert server.recv(65536) == data, size
    assert machine.namespace.counter("UdpInCsumErrors") == errors
    assert out_of_device(cloud.h2) - before <= 5, "by our own program, all but some of others"


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_questions_and_answers_over_tcp(cloud, version):
    address = getattr(cloud.vm3, version)
    with cloud.vm3.namespace.socket(family_of(address), socket.SOCK_STREAM) as server, \
            cloud.vm1.namespace.socket(family_of(address), socket.SOCK_STREAM) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 7004))
        server.listen(1)
        client.settimeout(5)
        client.connect((address, 7004))
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            before = out_of_device(cloud.h1) + out_of_device(cloud.h2)
            for n in range(100):
                data = bytes([n]) * (n + 1)
                client.sendall(data)
                assert connection.recv(1000, socket.MSG_WAITALL if n == 0 else 0)[:1] == data[:1]
                connection.sendall(data)
                assert client.recv(1000)[:1] == data[:1]
    assert out_of_device(cloud.h1) + out_of_device(cloud.h2) - before <= 10


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_a_flow_of_large_and_small_packets_stays_in_order(cloud, version):
    """Large ones (UDP GSO) take the device, which is the longer way."""
    address = getattr(cloud.vm3, version)
    assert cloud.vm1.ping(address).ok
    client, server = udp_pair(cloud, cloud.vm3, address, 7005)
    with client, server:
        client.send(b"first")
        assert server.recv(65536) == b"first"
        number = 0
        for _ in range(100):
            sent = []
            for count in (10, 1, 3, 1):
                datagrams = [struct.pack("!I", number + n) + bytes(1000) for n in range(count)]
                number += count
                client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1004 if count > 1 else 0)
                client.send(b"".join(datagrams))
                sent += datagrams
            assert [server.recv(65536) for _ in sent] == sent


def test_nothing_is_lost_while_agents_change(own_cloud):
    cloud = own_cloud
    assert cloud.vm1.ping(cloud.vm3.v4).ok and cloud.vm1.ping(cloud.vm3.v6).ok
    assert decapsulates(cloud.h2, "uplink")
    with cloud.vm1.pinger(cloud.vm3.v4) as pinger:
        cloud.h2.stop_agent()
        assert decapsulates(cloud.h2, "uplink")
        before = out_of_device(cloud.h2)
        assert cloud.vm1.ping(cloud.vm3.v6, count=5).ok
        assert out_of_device(cloud.h2) - before <= 2
        cloud.h2.start_agent()
        result = pinger.stop()
    assert result.lost == 0, result
    cloud.h2.stop_agent()
    assert cloud.h2.leave().status == 0
    assert not decapsulates(cloud.h2, "uplink")


def test_follows_the_underlay_to_a_bridge(own_cloud):
    cloud, namespace = own_cloud, own_cloud.h2.namespace
    assert cloud.vm1.ping(cloud.vm3.v4).ok
    mac = re.search(r"link/ether (\S+)", namespace.run("ip", "link", "show", "dev", "uplink").stdout)[1]
    namespace.run("ip", "link", "add", "under0", "address", mac, "type", "bridge")
    namespace.run("ip", "link", "set", "under0", "mtu", 1700, "up")
    namespace.run("ip", "addr", "del", "192.0.2.2/24", "dev", "uplink")
    namespace.run("ip", "link", "set", "uplink", "master", "under0")
    namespace.run("ip", "addr", "add", "192.0.2.2/24", "dev", "under0")
    wait_until(lambda: cloud.vm1.ping(cloud.vm3.v4, wait=1).ok, 20, "machines reach each other again")
    wait_until(lambda: decapsulates(cloud.h2, "under0") and not decapsulates(cloud.h2, "uplink"), 20, "the program moves")
    before = out_of_device(cloud.h2)
    assert cloud.vm1.ping(cloud.vm3.v4, count=5).ok
    assert cloud.vm1.ping(cloud.vm3.v6, count=5).ok
    assert out_of_device(cloud.h2) - before <= 2
