"""Every query of every board answers with data, asked of a real Prometheus and a real Loki that watched real nodes.

What can go wrong does so once; then each board is opened as Grafana opens it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import wait_until
from tests.live.site import unix
from tests.scene import Scene
from tests.scene.grafana import Range, Viewer
from tests.unit.dashboards.reading import Board, Link, Query, boards

TOLD_SECONDS = 200  # 50 where the machine has nothing else to do
LAST_SCRAPES_SECONDS = 5
ALL_THERE_SECONDS = 20

# What a query reads, and what it needs that the scene does not have.
EMPTY = {
    "bitcoin_retarget_progress_ratio": "a chain whose difficulty changes: regtest's does not",
    "unless on (chain, validator) cometbft_validator_own_info": "a validator chosen that is not one's own",
}
# Likewise, and there only if this machine is so.
OF_THE_MACHINE = {
    "node_systemd_": "systemd, which containers do without",
    "node_disk_read_time_": "reads from the disk, where the cache may hold all",
}

# Titles of panels whose link finds no lines, and what these would need.
NO_LINES = {
    "Switches": "a node that drops lines, which is of version 30 or later",
    "Blocks that peers did not deliver": "a peer that announces a block and sends none for ten minutes",
    "Prevoted, not precommitted": "a signer that can fail: a remote one",
    "Missed for the signer": "a signer that can fail: a remote one",
    "Subscriptions ended by the node": "a reader that is too slow for its node",
}


@dataclass(frozen=True)
class Seen:
    """The scene after everything happened."""

    scene: Scene
    viewer: Viewer


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Let everything happen once."""
    with Scene(tmp_path_factory.mktemp("scene"), stand_ins=True) as scene:
        began = time.time()
        with scene.playing(beats_between_faults=1) as players:
            wait_until(lambda: all(one.told.is_set() for one in players), "every fault", timeout=TOLD_SECONDS)
            # Some rules are evaluated once a minute, and their first time was perhaps before there was anything.
            wait_until(lambda: evaluated(scene) > began + ALL_THERE_SECONDS, "every rule", timeout=90)
            # What was recorded only now is seen at a range's next step, and what happened last by the next scrapes.
            time.sleep(LAST_SCRAPES_SECONDS)
            failed = [failure for player in players for failure in player.failed]
            assert not failed, "\n".join(failed)
        yield Seen(scene, Viewer(scene.prometheus, scene.loki, Range(began, time.time())))


def evaluated(scene: Scene) -> float:
    """Since when every rule has been evaluated, Unix time."""
    return min(unix(rule["lastEvaluation"]) for rule in scene.prometheus.rules())


def queries() -> Iterator[tuple[str, Board, Query]]:
    """Every query of a panel or an annotation, with a name."""
    for board in boards():
        count: Counter[str] = Counter()
        for query in board.queries():
            if query.kind != "variable":
                count[query.where] += 1
                yield f"{board.uid} {query.where} {count[query.where]}", board, query


NAMES, BOARDS, QUERIES = zip(*queries(), strict=True)
LINKS = [link for board in boards() for link in board.links() if link.board == "chainwatch-logs"]
VARIABLES = [(board, name) for board in boards() for name in board.chosen]


@pytest.mark.parametrize(("board", "query"), list(zip(BOARDS, QUERIES, strict=True)), ids=NAMES)
def test_a_query_answers_with_data(seen: Seen, board: Board, query: Query) -> None:
    if query.loki and seen.scene.loki is None:
        pytest.skip(seen.scene.without_loki)
    if any(part in query.expr for part in OF_THE_MACHINE):
        return
    answer = seen.viewer.answer(board, query)
    asked = seen.viewer.expression(board, query)
    if reasons := [reason for part, reason in EMPTY.items() if part in query.expr]:
        assert not answer, f"this has data without {', '.join(reasons)}; take it out of EMPTY: {asked}"
    else:
        assert answer, f"no data: {asked}"


@pytest.mark.parametrize("link", LINKS, ids=[link.where for link in LINKS])
def test_a_link_to_the_log_finds_lines(seen: Seen, link: Link) -> None:
    if seen.scene.loki is None:
        pytest.skip(seen.scene.without_loki)
    wanted = {"chain": [".+"], **link.fixed}  # all else is All
    selector = ",".join(f'{name}=~"{"|".join(values)}"' for name, values in wanted.items())
    found = seen.scene.loki.query_range(f"{{{selector}}}", limit=1)
    if reason := NO_LINES.get(link.where):
        assert not found, f"this has lines without {reason}; take it out of NO_LINES: {{{selector}}}"
    else:
        assert found, f"no lines: {{{selector}}}"


@pytest.mark.parametrize(("board", "name"), VARIABLES, ids=[f"{board.uid} {name}" for board, name in VARIABLES])
def test_a_variable_offers_values(seen: Seen, board: Board, name: str) -> None:
    if board.variables[name]["datasource"]["type"] == "loki" and seen.scene.loki is None:
        pytest.skip(seen.scene.without_loki)
    assert seen.viewer.options(board, name)


@pytest.mark.parametrize("part", EMPTY | OF_THE_MACHINE)
def test_each_exception_is_about_a_query(part: str) -> None:
    assert any(part in query.expr for query in QUERIES)


@pytest.mark.parametrize("title", NO_LINES)
def test_each_exception_is_about_a_link(title: str) -> None:
    assert any(title == link.where for link in LINKS)
