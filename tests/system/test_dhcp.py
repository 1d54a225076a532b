# SPDX-License-Identifier: Apache-2.0
"""Real DHCP clients get from the edge what the topology says, whatever becomes of the agent's store."""
import os
import shutil
import subprocess

import pytest

from cloud import TWO_SWITCHES, Cloud
from netns import wait_until

MAC1, MAC2 = "02:00:00:00:01:11", "02:00:00:00:01:12"

# What a client does with what it has got: writes it down.
SCRIPT = """#!/bin/sh
set > {0}.new
mv {0}.new {0}.$1$reason
"""


@pytest.fixture(scope="module")
def dhcp():
    """Two machines without addresses of their own, on two hosts."""
    cloud = Cloud(hosts=2)
    try:
        cloud.add_machine("vm1", "h1", MAC1, [])
        cloud.add_machine("vm2", "h2", MAC2, [])
        ports = [{"name": m.name, "bridge": "blue", "host": m.host.name, "interface": m.tap, "mac": m.mac,
                  "addresses": [f"10.1.1.{last}", f"fd00:1::{last}"]}
                 for m, last in ((cloud.vm1, 11), (cloud.vm2, 12))]
        cloud.apply(TWO_SWITCHES | {"ports": TWO_SWITCHES["ports"] + ports, "dhcp-subnets": [
            {"name": "blue4", "bridge": "blue", "network": "10.1.1.0/24", "gateway": "10.1.1.1",
             "dns_servers": ["10.1.1.53", "10.1.1.54"], "domain": "blue.example", "mtu": 1400, "lease_time": 600,
             "routes": ["10.9.0.0/16 via 10.1.1.9"]},
            {"name": "blue6", "bridge": "blue", "network": "fd00:1::/64", "dns_servers": ["fd00:1::53"],
             "domain": "blue.example", "lease_time": 600}]})
        cloud.wait_ports(2)
    except BaseException:
        cloud.print_logs()
        cloud.tear_down(checked=False)
        raise
    yield cloud
    cloud.tear_down()


class Client:
    """Runs a client once in a machine's namespace; what it was told, by name."""

    def __init__(self, cloud, machine):
        self.machine = machine
        self.base = cloud.dir / f"dhcp-{machine.name}"
        self.script = cloud.dir / f"dhcp-{machine.name}.sh"
        self.script.write_text(SCRIPT.format(self.base))
        self.script.chmod(0o755)

    def told(self, event):
        path = self.base.with_name(f"{self.base.name}.{event}")
        if not path.exists():
            return {}
        words = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        path.unlink()
        return {name: value.strip("'") for name, value in words.items()}

    def udhcpc(self, *options):
        return self.machine.run("busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", self.script, "-t", 3, "-T", 2,
                                *options, check=False)

    def dhclient6(self, *options):
        for name in ("lease", "pid"):
            self.base.with_suffix("." + name).unlink(missing_ok=True)
        return self.machine.run("dhclient", "-6", "-1", "-v", "-cf", "/dev/null", "-sf", self.script, "-lf",
                                self.base.with_suffix(".lease"), "-pf", self.base.with_suffix(".pid"), *options, "eth0",
                                check=False, env=os.environ | {"PATH_DHCLIENT_SCRIPT": str(self.script)})

    def stop_dhclient6(self, how):
        """-r: releases what it has and waits for the answer; -x: just ends."""
        return self.machine.run("dhclient", "-6", how, "-v", "-cf", "/dev/null", "-sf", self.script, "-lf",
                                self.base.with_suffix(".lease"), "-pf", self.base.with_suffix(".pid"), "eth0", check=False)


def wait_for_link_local(machine):
    """Without duplicate address detection in progress."""
    wait_until(lambda: "fe80::" in machine.run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative").stdout,
               10, "a link-local address")


@pytest.mark.parametrize("name, address", [("vm1", "10.1.1.11"), ("vm2", "10.1.1.12")])
def test_busybox_gets_its_address(dhcp, name, address):
    machine = dhcp.machines[name]
    client = Client(dhcp, machine)
    done = client.udhcpc("-O", "staticroutes", "-O", "mtu")
    assert done.returncode == 0, done.stderr
    told = client.told("bound")
    assert told["ip"] == address
    assert told["subnet"] == "255.255.255.0" and told["router"] == "10.1.1.1" and told["serverid"] == "10.1.1.1"
    assert told["dns"] == "10.1.1.53 10.1.1.54" and told["domain"] == "blue.example" and told["mtu"] == "1400"
    assert told["lease"] == "600"
    assert told["staticroutes"] == "0.0.0.0/0 10.1.1.1 10.9.0.0/16 10.1.1.9"


def test_what_it_was_told_works(dhcp):
    """Addresses as they were given; then the machines reach each other and their gateway."""
    for machine, address in ((dhcp.vm1, "10.1.1.11"), (dhcp.vm2, "10.1.1.12")):
        machine.run("ip", "addr", "replace", f"{address}/24", "dev", "eth0")
    assert dhcp.vm1.ping("10.1.1.12", wait=4).ok
    assert dhcp.vm1.ping("10.1.1.1", wait=4).ok
    for machine in (dhcp.vm1, dhcp.vm2):
        machine.run("ip", "-4", "addr", "flush", "dev", "eth0")


def test_a_wrong_address_is_refused(dhcp):
    """The client asks for another's address: it is offered its own."""
    client = Client(dhcp, dhcp.vm1)
    done = client.udhcpc("-r", "10.1.1.12")
    assert done.returncode == 0, done.stderr
    assert client.told("bound")["ip"] == "10.1.1.11"


def test_nobody_else_hears_of_it(dhcp):
    with dhcp.vm2.capture() as heard:
        assert Client(dhcp, dhcp.vm1).udhcpc().returncode == 0
        frames = [f for f in heard.frames() if MAC1.replace(":", "") in bytes(f).hex()[12:24]]
    assert not frames


def test_a_subnet_that_is_down_answers_nobody(dhcp):
    client = Client(dhcp, dhcp.vm1)
    with dhcp.changed("dhcp-subnet", "blue4", ["--admin-up", "false", "--wait"], ["--admin-up", "true", "--wait"]):
        assert client.udhcpc("-t", 1, "-T", 1).returncode != 0
    assert client.udhcpc().returncode == 0


def test_without_the_api_and_the_store(dhcp):
    """What the agent knows is enough."""
    dhcp.stop_api()
    try:
        assert Client(dhcp, dhcp.vm1).udhcpc().returncode == 0
    finally:
        dhcp.start_api()


def test_security_groups_and_port_security(dhcp):
    """A machine that may send nothing still gets its address."""
    dhcp.apply({"security-groups": [{"name": "closed"}],
                "ports": [{"name": "vm1", "security_groups": ["closed"], "port_security": True}]})
    dhcp.cli("wait")
    try:
        assert Client(dhcp, dhcp.vm1).udhcpc().returncode == 0
    finally:
        dhcp.cli("port", "update", "vm1", "--clear", "security_groups,port_security", "--wait", check=False)


@pytest.mark.skipif(shutil.which("dhclient") is None, reason="dhclient is not installed")
def test_dhclient_gets_its_ipv6_address(dhcp):
    wait_for_link_local(dhcp.vm1)
    client = Client(dhcp, dhcp.vm1)
    done = client.dhclient6()
    assert done.returncode == 0, done.stderr
    told = client.told("BOUND6")
    assert told["new_ip6_address"] == "fd00:1::11"
    assert told["new_dhcp6_name_servers"] == "fd00:1::53"
    assert told["new_dhcp6_domain_search"].rstrip(".") == "blue.example"
    assert told["new_max_life"] == "600"
    released = client.stop_dhclient6("-r")
    assert released.returncode == 0 and "Release" in released.stderr, released.stderr


@pytest.mark.skipif(shutil.which("dhclient") is None, reason="dhclient is not installed")
def test_dhclient_gets_settings_only(dhcp):
    wait_for_link_local(dhcp.vm2)
    client = Client(dhcp, dhcp.vm2)
    done = client.dhclient6("-S")
    assert done.returncode == 0, done.stderr
    assert client.told("RENEW6")["new_dhcp6_name_servers"] == "fd00:1::53"
    client.stop_dhclient6("-x")
