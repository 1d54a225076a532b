# SPDX-License-Identifier: Apache-2.0
"""Neighbours of machines: answered by the kernel's flows, whatever becomes of the agent."""
import signal
import time


def fast_neighbours(machine):
    """An entry is stale after a second or two, probed at once, and given up some four seconds later."""
    for family in ("ipv4", "ipv6"):
        for name, value in (("base_reachable_time_ms", 2000), ("delay_first_probe_time", 1), ("gc_stale_time", 5)):
            machine.run("sysctl", "-qw", f"net.{family}.neigh.eth0.{name}={value}")


def test_a_machine_keeps_its_gateway_while_the_agent_is_away(cloud):
    """The agent is killed; the machine's entry for its gateway expires again and again; the flow answers its probes."""
    fast_neighbours(cloud.vm1)
    targets = (cloud.vm4.v4, cloud.vm4.v6)
    for address in targets:
        assert cloud.vm1.ping(address, count=3, wait=4).ok
    # Both questions, to all and to the gateway alone, have flows before the agent goes.
    for gateway in ("10.1.1.1", "fd00:1::1"):
        cloud.vm1.run("ip", "neigh", "flush", "dev", "eth0")
        assert cloud.vm1.ping(gateway).ok
    for address in targets:
        assert cloud.vm1.ping(address, wait=4).ok
    time.sleep(8)  # unicast probes of what is in use
    for address in targets:
        assert cloud.vm1.ping(address, count=3, wait=4).ok
    cloud.h1.stop_agent(signal.SIGKILL)
    try:
        began = time.monotonic()
        while time.monotonic() < began + 60:
            for address in targets:
                assert cloud.vm1.ping(address, count=2, wait=2).ok, f"{address} after {time.monotonic() - began:.0f} s"
            time.sleep(1)
        # Even when the machine has forgotten everything.
        cloud.vm1.run("ip", "neigh", "flush", "dev", "eth0")
        for address in targets:
            assert cloud.vm1.ping(address, wait=4).ok
    finally:
        cloud.h1.start_agent()
