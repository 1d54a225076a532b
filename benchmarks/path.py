# SPDX-License-Identifier: Apache-2.0
"""A way through a system under test, and sending packets along it."""
import dataclasses
import json
import os

from lab import GENERATOR_CPU, BenchError, run

BUILD = os.environ.get("PLEXUS_BUILD", "build/release")


def require(program):
    """Its path in the build; an error that says what to do where it is not there."""
    path = f"{BUILD}/bin/{program}"
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path} is missing: run without --no-build")
    return path


@dataclasses.dataclass(frozen=True)
class Path:
    """Where packets enter, what they look like there, where they must arrive, and what as."""
    netns: str
    interface: str
    frame: str
    sink_netns: str
    sink_interface: str
    expect_mac: str | None = None
    expect_ttl: int | None = None
    expect_ahead: int = 0


@dataclasses.dataclass(frozen=True)
class Sent:
    """One run."""
    nanoseconds: float  # for each packet, the generator's own included
    disturbed: bool  # something else ran on the machine


def sent(result):
    # The second in hundredths of a second: one may come from us.
    disturbed = (result["waited_nanoseconds"] > 0.02 * result["nanoseconds"]
                 or result["others_nanoseconds"] > 0.1 * result["nanoseconds"] + 10_000_000)
    return Sent(result["nanoseconds"] / result["packets"], disturbed)


class Generator:
    """plexus-bench-generator, with an interface pair of its own to attach to."""

    def __init__(self, the_lab):
        require("plexus-bench-generator")
        self.netns = the_lab.namespace("gen")
        run("ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1", netns=self.netns)
        for interface in ("spare0", "spare1"):
            run("ip", "link", "set", interface, "up", netns=self.netns)

    def _run(self, path, *options):
        command = ["taskset", "-c", str(GENERATOR_CPU), "chrt", "-f", "1", f"{BUILD}/bin/plexus-bench-generator",
                   "--spare", "spare0", "--netns", path.netns, "--interface", path.interface, "--frame", path.frame,
                   *(str(option) for option in options)]
        return json.loads(run(*command, netns=self.netns, timeout=300))

    def alone(self, path, flows, packets):
        """The same packets, dropped where they are made: what generating costs."""
        return sent(self._run(path, "--verdict", "drop", "--flows", flows, "--packets", packets))

    def through(self, path, flows, packets):
        """Along the path. Every single packet must arrive, as it should."""
        options = ["--sink-netns", path.sink_netns, "--sink-interface", path.sink_interface, "--flows", flows,
                   "--packets", packets, "--warm-up", 15, "--expect-ahead", path.expect_ahead]
        if path.expect_mac is not None:
            options += ["--expect-mac", path.expect_mac]
        if path.expect_ttl is not None:
            options += ["--expect-ttl", path.expect_ttl]
        result = self._run(path, *options)
        if result["arrived"] != packets:
            raise BenchError(f"of {packets} packets {result['arrived']} arrived as they should, {result['wrong']} "
                             f"otherwise")
        return sent(result)

    def one_burst(self, path):
        """A few packets, whatever becomes of them."""
        self._run(path, "--packets", 4)
