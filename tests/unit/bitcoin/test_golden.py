"""Recorded answers go in, the exact page of all collectors comes out.

`CHAINWATCH_REGENERATE=1 pytest tests/unit/bitcoin/test_golden.py` writes the pages; look at the difference.
"""

import asyncio
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import Metric

from chainwatch.errors import Unsupported
from chainwatch.exposition.text import render
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.settings import Peers
from tests.unit.bitcoin.fake_node import FIXTURES, FakeNode, watched

GOLDEN = Path(__file__).parents[2] / "golden"
# Page, recordings, collectors that such a node cannot answer.
PAGES = [
    ("bitcoin-core31", "bitcoind31", set()),
    ("bitcoin-litecoin", "litecoind", {"addrman", "chainstates", "orphans"}),
    (
        "bitcoin-bitcoinsv",
        "bitcoinsv",
        {"addrman", "chainstates", "fees", "indexes", "orphans", "rpc_server"},
    ),
]


async def collect_all(node: BitcoinNode) -> tuple[list[Metric], set[str]]:
    """Every family of every collector, also of those that are off by default, and the names of unsupported ones."""
    BITCOIN.load()
    collectors = {registration.name: registration.build(node) for registration in BITCOIN}
    outcomes = await asyncio.gather(*(one.collect() for one in collectors.values()), return_exceptions=True)
    families: list[Metric] = []
    unsupported = set()
    for name, outcome in zip(collectors, outcomes, strict=True):
        if isinstance(outcome, Unsupported):
            unsupported.add(name)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            families.extend(outcome)
    return sorted(families, key=lambda family: family.name), unsupported


@pytest.mark.parametrize(("page", "recordings", "lacking"), PAGES)
async def test_page_of_recorded_node_is_the_golden_one(
    page: str, recordings: str, lacking: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=lambda: 1795400000.0)
    monkeypatch.setattr("chainwatch.families.bitcoin.collectors.uptime.time", clock)
    async with FakeNode(FIXTURES / recordings) as fake, watched(fake, peers=Peers(inbound_slots=114)) as node:
        families, unsupported = await collect_all(node)
        assert node.chain is not None
        text = render(families, {"chain": node.chain.label}, False).decode()

    golden = GOLDEN / f"{page}.prom"
    if os.environ.get("CHAINWATCH_REGENERATE"):
        golden.write_text(text)
    assert unsupported == lacking, (
        f"{page}: for {sorted(unsupported - lacking)} record what they ask as tests/fixtures/{recordings}/METHOD.json,"
        f" or name them in PAGES if such a node cannot answer; it does answer {sorted(lacking - unsupported)}"
    )
    assert text.splitlines() == golden.read_text().splitlines()


@pytest.mark.parametrize("page", [page for page, _, _ in PAGES])
def test_promtool_finds_nothing_to_say_about_a_golden_page(page: str) -> None:
    with (GOLDEN / f"{page}.prom").open() as text:
        done = subprocess.run(["promtool", "check", "metrics"], stdin=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", [page for page, _, _ in PAGES])
def test_every_help_names_what_it_was_made_from(page: str) -> None:
    """Fleet metrics have no source of their own: it differs between families."""
    helps = [line for line in (GOLDEN / f"{page}.prom").read_text().splitlines() if line.startswith("# HELP bitcoin_")]
    assert helps
    for line in helps:
        assert re.search(r"from (get|list|the setting )[a-z]", line), line
