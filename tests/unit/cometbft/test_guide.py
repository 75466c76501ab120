"""The guide says what the code does: its table of collectors, its examples, its closed words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chainwatch.config import load
from chainwatch.exposition.collector import Registration
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.consensus.model import Cause, Condition
from chainwatch.families.cometbft.node import CometbftNode
from chainwatch.families.cometbft.sdk import queries
from chainwatch.families.cometbft.settings import CometbftSettings, check
from tests.unit.cometbft.fake_node import FakeNode, watched
from tests.unit.cometbft.test_collectors_sdk import application
from tests.unit.cometbft.test_sdk import INFOS, PARAMS, PLAN

COMETBFT.load()
GUIDE = (Path(__file__).parents[3] / "docs" / "cometbft.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
ROWS = dict(re.findall(r"^\| `(\w+)` \| (o[nf]+ \| .*?) \| [^|]+ \|$", GUIDE, re.MULTILINE))


@pytest.mark.parametrize("entry", list(COMETBFT), ids=[entry.name for entry in COMETBFT])
async def test_every_collector_is_in_the_guide_with_its_default_and_what_it_asks(
    entry: Registration[CometbftNode], fake: FakeNode
) -> None:
    application(fake, {queries.SLASHING_PARAMS: PARAMS, queries.SIGNING_INFOS: INFOS, queries.CURRENT_PLAN: PLAN})
    async with watched(fake) as node:
        await entry.build(node).collect()
    row = f"{'on' if entry.default else 'off'} | {', '.join(sorted(set(fake.methods)))}"
    assert ROWS.get(entry.name) == row, f"docs/cometbft.md should say: | `{entry.name}` | {row} | what it costs |"


def test_the_guide_has_no_collector_that_does_not_exist() -> None:
    assert set(ROWS) == {entry.name for entry in COMETBFT}


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_are_right_as_they_stand(text: str, tmp_path: Path) -> None:
    file = tmp_path / "cometbft.yml"
    file.write_text(text)
    settings = load(CometbftSettings, file=file, environ={}, flags={}, switches=[entry.name for entry in COMETBFT])
    check(settings)
    assert settings != CometbftSettings()


@pytest.mark.parametrize("words", [Cause, Condition])
def test_every_cause_and_condition_is_explained(words: type[Cause] | type[Condition]) -> None:
    for word in words:
        assert re.search(rf"^ *\| `{word.value}` \| ", GUIDE, re.MULTILINE), word
