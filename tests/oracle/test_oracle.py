# SPDX-License-Identifier: Apache-2.0
"""The same random clouds in OVN and in Plexus, the same packets into both: they agree, or docs/oracle.md says why not."""
import collections
import os
import pathlib

import pytest

import compare
import edge
import plexus
from cloud import random_cloud, random_probes
from ovn import Ovn, TracerGone, missing

PROGRAM = os.environ.get("PLEXUS_BUILD", "build/release") + "/bin/plexus-scenario"
CLOUDS, PROBES, ANSWERS = int(os.environ.get("PLEXUS_ORACLE_CLOUDS", "20")), 1000, 200
START = int(os.environ.get("PLEXUS_ORACLE_START", "1"))
TABLE = pathlib.Path(__file__).parents[2] / "docs" / "oracle.md"


@pytest.fixture(scope="module", name="ovn")
def _ovn():
    assert not missing(), f"no {', '.join(missing())}: tools/install-packages test"
    with Ovn() as ovn:
        yield ovn


class Comparison:
    """Of one cloud: packets sent so far, and how often both agree."""

    def __init__(self, ovn, cloud):
        self.ovn, self.cloud = ovn, cloud
        self.grouped = {name for members in cloud.groups.values() for name in members}
        self.explained, self.gone, self.agreed, self.asked = collections.Counter(), 0, 0, set()
        self.arrived = []    # probes, and how they came out

    def send(self, probe, answer):
        ours = sorted(compare.plexus_event(*e) for e in plexus.events_of(answer))
        try:
            theirs = sorted(compare.ovn_event(*e) for e in self.ovn.events(probe))
        except TracerGone:
            self.gone += 1
            return
        reasons = [line.split()[2] for line in answer if line.startswith("drop ")]
        if ours == theirs:
            self.agreed += 1
            if len(ours) == 1 and ours[0].kind in ("packet", "echo-request"):
                self.arrived.append((probe, ours[0]))
        elif why := compare.explained(ours, theirs, reasons, self.asked, self.grouped, self.cloud.stateful):
            self.explained[why] += 1
        else:
            shown = "\n".join(["ours:", *map(str, ours), *map(str, reasons), "theirs:", *map(str, theirs)])
            pytest.fail(f"cloud {self.cloud.seed}: {plexus.text_of(probe)} from {probe.machine.name}\n{shown}", pytrace=False)
        self.asked |= {e.dst for e in ours if e.kind == "question"}


@pytest.mark.parametrize("seed", range(START, START + CLOUDS))
def test_agrees(ovn, tmp_path, seed, record_property):
    cloud = random_cloud(seed)
    probes = random_probes(cloud, PROBES)
    ovn.load(cloud)
    packets, answers = Comparison(ovn, cloud), Comparison(ovn, cloud)
    for probe, answer in zip(probes, plexus.ask(PROGRAM, cloud, probes, tmp_path)):
        packets.send(probe, answer)
    pairs = _answers(cloud, packets.arrived)
    # Each behind its question, in hosts that know nothing yet.
    for (_, back), answer in zip(pairs, plexus.ask(PROGRAM, cloud, [p for pair in pairs for p in pair], tmp_path)[1::2]):
        answers.send(back, answer)
    explained = packets.explained + answers.explained
    for why in explained:
        record_property(why, explained[why])
    print(f"cloud {seed}{' (stateful)' * cloud.stateful}: {packets.agreed} agree, {answers.agreed} of {len(pairs)} answers, "
          f"explained: {dict(explained)}, ovn-trace ended {packets.gone + answers.gone} times")
    # The test must not pass because nothing was compared.
    assert packets.agreed > PROBES / 3
    assert packets.gone < PROBES / 5
    assert answers.agreed >= len(pairs) / 2


@pytest.mark.parametrize("seed", range(START, START + CLOUDS))
def test_agrees_behind_an_edge(ovn, tmp_path, seed, record_property):
    cloud = edge.edge_cloud(seed)
    probes = edge.edge_probes(cloud, PROBES)
    ovn.load(cloud, edge.ovn_commands(cloud))
    agreed, explained = collections.Counter(), collections.Counter()
    for probe, answer in zip(probes, plexus.ask(PROGRAM, cloud, probes, tmp_path, edge.plexus_lines(cloud))):
        ours = edge.alike(cloud, probe, [compare.plexus_event(*e) for e in plexus.events_of(answer)])
        theirs = edge.alike(cloud, probe, [compare.ovn_event(*e) for e in ovn.events(probe)])
        if ours == theirs:
            translated = ours and (ours[0].src != probe.src or ours[0].dst != probe.dst)
            agreed["translated" if translated else "as they came"] += 1
        elif why := edge.explained(cloud, probe, ours, theirs):
            explained[why] += 1
        else:
            shown = "\n".join(["ours:", *map(str, ours), *answer, "theirs:", *map(str, theirs)])
            pytest.fail(f"cloud {seed}: {plexus.text_of(probe)} from {probe.machine.name}\n{shown}", pytrace=False)
    for why in explained:
        record_property(why, explained[why])
    print(f"edge {seed}: agree: {dict(agreed)}, explained: {dict(explained)}")
    assert agreed["translated"] > PROBES / 10


def _answers(cloud, arrived):
    """Some of the packets that arrived, each with its answer."""
    by_name = {m.name: m for m in cloud.machines}
    return [(probe, probe.answered(by_name[e.port], e.eth_src, e.src, e.dst)) for probe, e in arrived[:ANSWERS]]


def test_every_explanation_is_in_the_table():
    table = TABLE.read_text(encoding="utf-8")
    for why in compare.EXPLANATIONS + edge.EXPLANATIONS:
        assert f"| `{why}` |" in table, why
