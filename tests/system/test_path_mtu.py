# SPDX-License-Identifier: Apache-2.0
"""Path MTU discovery of the guests' own kernels, through a virtual router and the tunnel."""
import re

import pytest

from netns import wait_until


def learned_mtu(machine, address):
    """What the guest's kernel knows of the way to the address."""
    found = re.search(r"\bmtu (\d+)", machine.run("ip", "route", "get", address).stdout)
    return int(found[1]) if found else None


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_guests_learn_the_mtu_of_the_tunnel(cloud, family):
    wait_until(lambda: cloud.h1.status()["tunnel_mtu"] == 1650, 10, "1700 less the overhead")
    target = cloud.vm4.v4 if family == "ipv4" else cloud.vm4.v6
    size = 1472 if family == "ipv4" else 1452
    assert cloud.vm1.ping(target, size=size, whole=True).ok
    cloud.h1.namespace.run("ip", "link", "set", "uplink", "mtu", 1500)
    try:
        wait_until(lambda: cloud.h1.status()["tunnel_mtu"] == 1450, 10, "the agent sees the new MTU")
        assert not cloud.vm1.ping(target, size=size, whole=True, wait=1).ok
        wait_until(lambda: learned_mtu(cloud.vm1, target) == 1450, 5, "the guest's kernel knows the path MTU")
        assert cloud.vm1.ping(target, size=size - 50, whole=True).ok
    finally:
        cloud.h1.namespace.run("ip", "link", "set", "uplink", "mtu", 1700)
        cloud.vm1.run("ip", "-4" if family == "ipv4" else "-6", "route", "flush", "cache")
    wait_until(lambda: cloud.h1.status()["tunnel_mtu"] == 1650, 10, "back to what it was")
    assert cloud.vm1.ping(target, size=size, whole=True).ok
