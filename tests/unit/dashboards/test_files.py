"""The files as a whole: generated anew they are the same, Grafana's own schema reads them, nothing is left out."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.__main__ import JSON, texts
from tests.rules import alerts, reads, without_suffix
from tests.unit.dashboards.reading import Board, boards
from tests.unit.test_rules import exported_labels

with warnings.catch_warnings():
    # It would rather have schema v2, which Grafana before 12 does not read.
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

# What is exported, and shown or watched by nothing of ours.
UNUSED: dict[str, str] = {
    "bitcoin_block_size_bytes": "blocks are limited by their weight, which is shown",
    "bitcoin_blocks_connected_total": "the heights say it",
    "bitcoin_chain_tips": "those near the tip are shown; old ones are no news",
    "bitcoin_index_synced": "the lag of the index says more",
    "bitcoin_memory_locked_bytes": "of wallets' keys",
    "bitcoin_network_reachable": "a setting; peers by network are shown",
    "bitcoin_orphan_bytes": "their number is shown",
    "bitcoin_peers_time_offset_seconds": "the clock's offset, which is made of these, is shown",
    "chainwatch_finalized_height": "CometBFT's every block is final, Bitcoin's none",
}

# uid: title and folder, which others link to.
BOARDS = {
    "chainwatch-fleet": ("Fleet overview", "chainwatch"),
    "chainwatch-exporters": ("Exporter health", "chainwatch"),
    "chainwatch-logs": ("Logs", "chainwatch"),
    "chainwatch-host": ("Host", "chainwatch"),
    "chainwatch-bitcoin-node": ("Bitcoin node", "chainwatch-bitcoin"),
    "chainwatch-bitcoin-network": ("Bitcoin network view", "chainwatch-bitcoin"),
    "chainwatch-cometbft-chain": ("CometBFT chain", "chainwatch-cometbft"),
    "chainwatch-cometbft-validator": ("CometBFT validator", "chainwatch-cometbft"),
}

each_board = pytest.mark.parametrize("board", boards(), ids=lambda board: board.uid)


def test_the_files_are_what_the_boards_make() -> None:
    made = texts()
    there = {path: path.read_text() for path in JSON.rglob("*.json")}
    different = [path.name for path in {*made, *there} if made.get(path) != there.get(path)]
    assert not different, f"run `python -m dashboards`: {', '.join(sorted(different))}"


def test_boards_have_the_names_that_others_know_them_by() -> None:
    assert {board.uid: (board.json["title"], board.file.parent.name) for board in boards()} == BOARDS


@each_board
def test_grafanas_own_schema_knows_every_field(board: Board) -> None:
    plugins.register_default_plugins()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(board.json)))
    lost = list(differences(board.json, read))
    assert lost == []


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """What of ours theirs has not, as sentences; theirs may have more, and leave out what is null."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        lost = [f"{path}/{key} is lost" for key, value in ours.items() if key not in theirs and value is not None]
        return lost + [
            one for key in ours if key in theirs for one in differences(ours[key], theirs[key], f"{path}/{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = zip(ours, theirs, strict=True)
        return [one for index, (mine, other) in enumerate(pairs) for one in differences(mine, other, f"{path}/{index}")]
    return [] if ours == theirs else [f"{path}: {ours!r} became {theirs!r}"]


def test_every_panel_of_a_board_has_an_id_of_its_own() -> None:
    for board in boards():
        ids = Counter(panel["id"] for top in board.json["panels"] for panel in (top, *top.get("panels", [])))
        assert [number for number, count in ids.items() if count > 1] == [], board.uid


def test_every_exported_metric_is_shown_or_watched() -> None:
    used = {without_suffix(metric) for board in boards() for query in board.promql() for metric in reads(query.promql)}
    used |= {without_suffix(metric) for alert in alerts() for metric in reads(alert.expr)}
    unused = exported_labels().keys() - used
    assert unused == UNUSED.keys(), (
        f"shown by no board, watched by no rule: {sorted(unused - UNUSED.keys())};"
        f" listed in UNUSED, and used: {sorted(UNUSED.keys() - unused)}"
    )
