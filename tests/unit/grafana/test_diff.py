"""`chainwatch grafana diff` shows what a push would change, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainwatch.grafana.errors import RefusedError
from tests.unit.grafana.conftest import Run, board, write
from tests.unit.grafana.stub import Grafana, Stored


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
    assert out.splitlines()[1].endswith(" lines, in the folder chainwatch-btc")


def test_a_folder_that_is_given_is_a_difference_until_it_is_pushed(run: Run, grafana: Grafana) -> None:
    run("push")
    grafana.requests.clear()
    assert "2 updated" in run("push", "--grafana.folder=Chains", "--dry-run")[1]
    assert run("diff", "--grafana.folder=Chains") == (
        1,
        f"{grafana.url} fleet moves to the new folder Chains\n{grafana.url} node moves to the new folder Chains\n",
    )
    assert grafana.writes == []
    grafana.folders["theirs"] = "Chains"
    assert f"{grafana.url} fleet moves to the folder Chains\n" in run("diff", "--grafana.folder=Chains")[1]
    run("push", "--grafana.folder=Chains")
    assert run("diff", "--grafana.folder=Chains") == (0, f"2 boards at {grafana.url}: no difference.\n")
    assert run("diff") == (0, f"2 boards at {grafana.url}: no difference.\n")


def test_a_board_that_moves_and_changes_has_both_said(run: Run, grafana: Grafana, boards: Path) -> None:
    run("push")
    write(boards, board("fleet", description="new"))
    code, out = run("diff", "--grafana.folder=site1-")
    assert code == 1
    lines = out.splitlines()
    assert lines[:3] == [
        f"{grafana.url} fleet moves to the new folder site1-chainwatch",
        f"--- {grafana.url} fleet",
        "+++ chainwatch/fleet.json",
    ]
    assert lines[-1] == f"{grafana.url} node moves to the new folder site1-chainwatch-btc"


@pytest.mark.parametrize(
    "theirs",
    [
        Stored({"uid": "fleet", "title": "Mine", "tags": ["finance"]}, ""),
        Stored(board("fleet", description="of last year"), "", provisioned=True),
        Stored(board("fleet", description="of last year"), "", can_save=False),
    ],
    ids=["not ours", "provisioned", "only read"],
)
@pytest.mark.parametrize("arguments", [[], ["--grafana.folder=Chains"]])
def test_a_board_that_push_refuses_is_refused_in_the_same_words_and_no_difference(
    run: Run, grafana: Grafana, theirs: Stored, arguments: list[str]
) -> None:
    run("push", *arguments)
    grafana.boards["fleet"] = theirs
    refused = run("push", "--dry-run", *arguments)[1].splitlines()[0]
    assert refused.startswith("refused    fleet")
    assert run("diff", *arguments) == (
        0,
        f"{refused}\n2 boards at {grafana.url}: nothing that a push would change, 1 refused.\n",
    )
    del grafana.boards["node"]
    code, out = run("diff", *arguments)
    assert (code, out.splitlines()[0]) == (1, refused)
    assert out.splitlines()[1] == f"--- {grafana.url} node (no such board)"


def test_a_board_that_may_not_be_read_is_no_board_without_a_difference(run: Run, grafana: Grafana) -> None:
    run("push")
    grafana.unreadable = {"fleet"}
    with pytest.raises(RefusedError, match=rf"^board fleet at {grafana.url}: 403 "):
        run("diff")


def test_what_somebody_wrote_into_a_board_cannot_steer_the_terminal(run: Run, grafana: Grafana) -> None:
    run("push")
    grafana.boards["fleet"].data["description"] = "\x1b[2J\x7f\u202e"
    _, out = run("diff")
    assert out.isascii()
    assert all(char.isprintable() or char == "\n" for char in out)
