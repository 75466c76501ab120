"""Every board keeps every rule of lint.py and house_rules.py, but for what is excluded here with a reason."""

from __future__ import annotations

import pytest

from tests.unit.dashboards.house_rules import RULES
from tests.unit.dashboards.reading import Board, boards

# (rule, uid of the board or *, where or *): the reason.
EXCLUDED: dict[tuple[str, str, str], str] = {
    **dict.fromkeys(
        [(f"target-{name}", "chainwatch-fleet", "Not scraped") for name in ("chain", "job", "instance")],
        "an exporter that is not scraped may be in no choice, and must be counted whatever is chosen",
    ),
    ("target-counter-agg", "chainwatch-cometbft-validator", "Double signs"): "one is never over, however long ago",
}

each_board = pytest.mark.parametrize("board", boards(), ids=lambda board: board.uid)


def excluded(rule: str, board: Board, where: str) -> set[tuple[str, str, str]]:
    keys = {(rule, uid, place) for uid in (board.uid, "*") for place in (where, "*")}
    return keys & EXCLUDED.keys()


@each_board
@pytest.mark.parametrize("rule", RULES)
def test_board_keeps_the_rule(rule: str, board: Board) -> None:
    found = [f"{where}: {what}" for where, what in RULES[rule](board) if not excluded(rule, board, where)]
    assert not found, f"{board.file.name}, {RULES[rule].__doc__}\n" + "\n".join(found)


def test_every_exclusion_excludes_something() -> None:
    used = {
        key
        for name, rule in RULES.items()
        for board in boards()
        for where, _ in rule(board)
        for key in excluded(name, board, where)
    }
    assert EXCLUDED.keys() - used == set()
