# SPDX-License-Identifier: Apache-2.0
"""Bulk TCP between two machines, by iperf3."""
import json

from lab import GENERATOR_CPU, SYSTEM_CPU, BenchError, run, stop, wait_until

PORT = "5201"


def gbits(the_lab, client, server, address, seconds):
    """Gbit/s received by one stream, from namespace to namespace. The server has the system's CPU, the client the
    generator's; the first second does not count."""
    listener = the_lab.start("iperf-server", "iperf3", "-s", "-1", "-p", PORT, netns=server,
                             cpu=SYSTEM_CPU)
    try:
        wait_until("iperf3 server", 10, lambda: f":{PORT}" in run("ss", "-Hltn", netns=server))
        out = run("taskset", "-c", str(GENERATOR_CPU), "iperf3", "-c", address, "-p", PORT,
                  "-t", str(seconds), "-O", "1", "--json", netns=client, timeout=seconds + 30)
        return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e9
    except (KeyError, json.JSONDecodeError) as error:
        raise BenchError(f"iperf3 said nothing useful: {error}") from error
    finally:
        stop(listener)
