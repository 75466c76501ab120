"""`chainwatch grafana diff` shows what a push would change, and only that."""

from __future__ import annotations

from pathlib import Path

from tests.unit.grafana.conftest import Run, board, write
from tests.unit.grafana.stub import Grafana


def test_nothing_differs_after_a_push(run: Run, grafana: Grafana) -> None:
    run("push")
    grafana.requests.clear()
    assert run("diff") == (0, f"2 boards at {grafana.url}: no difference.\n")
    assert grafana.writes == []


def test_a_change_is_shown_from_theirs_to_ours(run: Run, grafana: Grafana, boards: Path) -> None:
    run("push")
    write(boards, board("fleet", description="new"))
    grafana.boards["fleet"].data["description"] = "old"
    code, out = run("diff")
    assert code == 1
    lines = out.splitlines()
    assert lines[:2] == [f"--- {grafana.url} fleet", "+++ chainwatch/fleet.json"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ['- "description": "old",', '+ "description": "new",']


def test_a_board_that_is_not_there_is_two_lines(run: Run, grafana: Grafana) -> None:
    run("push")
    del grafana.boards["node"]
    code, out = run("diff")
    assert code == 1
    assert out.splitlines()[0] == f"--- {grafana.url} node (no such board)"
    assert out.splitlines()[1].startswith("+++ chainwatch-btc/node.json: Board node, ")


def test_what_somebody_wrote_into_a_board_cannot_steer_the_terminal(run: Run, grafana: Grafana) -> None:
    run("push")
    grafana.boards["fleet"].data["description"] = "\x1b[2J\x7f\u202e"
    _, out = run("diff")
    assert out.isascii()
    assert all(char.isprintable() or char == "\n" for char in out)
