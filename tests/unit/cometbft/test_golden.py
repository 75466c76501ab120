"""Recorded answers and events go in, the exact page comes out.

`CHAINWATCH_REGENERATE=1 pytest tests/unit/cometbft/test_golden.py` writes the page; look at the difference. The node's
answers are those of a chain at rest, the events those of a halt that ended, the application's those of a Cosmos SDK
chain: no one node says all of it at once.
"""

import asyncio
import os
import re
import subprocess
from pathlib import Path

from prometheus_client import Metric

from chainwatch.exposition.text import render
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.tallies import Tallies
from chainwatch.families.cometbft.sdk import queries
from tests.unit.cometbft.fake_node import FakeNode, watched
from tests.unit.cometbft.heights import HEALTHY
from tests.unit.cometbft.test_collectors_sdk import application
from tests.unit.cometbft.test_sdk import INFOS, PARAMS, PLAN
from tests.unit.cometbft.view_scene import MEMBERS, NODE3, frames, members

GOLDEN = Path(__file__).parents[2] / "golden" / "cometbft.prom"
OWN = {NODE3: "mine"}
# Definitions of the node's answers and events; the fleet's have no source of their own.
OURS = re.compile(r"# HELP cometbft_")


async def collected(fake: FakeNode) -> list[Metric]:
    """Every family of every collector."""
    application(fake, {queries.SLASHING_PARAMS: PARAMS, queries.SIGNING_INFOS: INFOS, queries.CURRENT_PLAN: PLAN})
    COMETBFT.load()
    async with watched(fake) as node:
        node.tracker.names, node.tracker.shown = OWN, MEMBERS  # type: ignore[misc]
        found = await asyncio.gather(*(registration.build(node).collect() for registration in COMETBFT))
    return [family for families in found for family in families]


def counted() -> list[Metric]:
    """What the recording of a halt leaves counted."""
    tallies = Tallies(OWN)
    ledger = Ledger(lambda settled: tallies.count(settled, HEALTHY), tallies.double_sign)
    for seen, event in frames():
        ledger.take(event, seen)
        for name in ledger.wanted_sets():
            ledger.learn(members(name))
    return list(tallies.collect())


async def test_page_of_recorded_node_is_the_golden_one(fake: FakeNode) -> None:
    families = sorted([*await collected(fake), *counted()], key=lambda family: family.name)
    text = render(families, {"chain": "chainwatch-lab"}, False).decode()
    if os.environ.get("CHAINWATCH_REGENERATE"):
        GOLDEN.write_text(text)
    assert text.splitlines() == GOLDEN.read_text().splitlines()


def test_promtool_finds_nothing_to_say_about_the_golden_page() -> None:
    with GOLDEN.open() as text:
        done = subprocess.run(["promtool", "check", "metrics"], stdin=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_name_is_one_that_the_node_exports() -> None:
    names = set(re.findall(r"^# TYPE (\S+)", GOLDEN.read_text(), re.MULTILINE))
    recorded = (Path(__file__).parents[2] / "fixtures" / "cometbft" / "metric_names.txt").read_text()
    theirs = set(re.findall(r"^cometbft_\w+", recorded, re.MULTILINE))
    assert len(theirs) > 40
    assert not names & theirs
