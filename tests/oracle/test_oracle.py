# SPDX-License-Identifier: Apache-2.0
"""The same random clouds in OVN and in Plexus, the same packets into both: they agree, or docs/oracle.md says why not."""
import collections
import os
import pathlib

import pytest

import compare
import plexus
from cloud import random_cloud, random_probes
from ovn import Ovn, TracerGone, missing

PROGRAM = os.environ.get("PLEXUS_BUILD", "build/release") + "/bin/plexus-scenario"
CLOUDS, PROBES = int(os.environ.get("PLEXUS_ORACLE_CLOUDS", "20")), 1000
START = int(os.environ.get("PLEXUS_ORACLE_START", "1"))
TABLE = pathlib.Path(__file__).parents[2] / "docs" / "oracle.md"


@pytest.fixture(scope="module", name="ovn")
def _ovn():
    assert not missing(), f"no {', '.join(missing())}: tools/install-packages test"
    with Ovn() as ovn:
        yield ovn


@pytest.mark.parametrize("seed", range(START, START + CLOUDS))
def test_agrees(ovn, tmp_path, seed, record_property):
    cloud = random_cloud(seed)
    probes = random_probes(cloud, PROBES)
    grouped = {name for members in cloud.groups.values() for name in members}
    ovn.load(cloud)
    explained, gone, agreed, asked = collections.Counter(), 0, 0, set()
    for probe, answer in zip(probes, plexus.ask(PROGRAM, cloud, probes, tmp_path)):
        ours = sorted(compare.plexus_event(*e) for e in plexus.events_of(answer))
        try:
            theirs = sorted(compare.ovn_event(*e) for e in ovn.events(probe))
        except TracerGone:
            gone += 1
            continue
        reasons = [line.split()[2] for line in answer if line.startswith("drop ")]
        if ours == theirs:
            agreed += 1
        elif why := compare.explained(ours, theirs, reasons, asked, grouped):
            explained[why] += 1
        else:
            shown = "\n".join(["ours:", *map(str, ours), *map(str, reasons), "theirs:", *map(str, theirs)])
            pytest.fail(f"cloud {seed}: {plexus.text_of(probe)} from {probe.machine.name}\n{shown}", pytrace=False)
        asked |= {e.dst for e in ours if e.kind == "question"}
    for why in explained:
        record_property(why, explained[why])
    print(f"cloud {seed}: {agreed} agree, explained: {dict(explained)}, ovn-trace ended {gone} times")
    # The test must not pass because nothing was compared.
    assert agreed > PROBES / 3
    assert gone < PROBES / 5


def test_every_explanation_is_in_the_table():
    table = TABLE.read_text(encoding="utf-8")
    for why in compare.EXPLANATIONS:
        assert f"| `{why}` |" in table, why
