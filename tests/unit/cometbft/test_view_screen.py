"""What `chainwatch cometbft top` draws."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from chainwatch.families.cometbft.consensus.model import Condition
from chainwatch.families.cometbft.view.document import Member, Snapshot, Validator
from chainwatch.families.cometbft.view.screen import Size, duration, fit, frame

from .heights import Story
from .view_scene import NODE2, NOW, Scene, halted

GOLDEN = Path(__file__).parents[2] / "golden" / "cometbft_top_halt.txt"
HOSTILE = "a\x1b[2Jb\r\n\u202ec" + "鯨" * 40


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def drawn(doc: Snapshot, columns: int = 80, lines: int | None = 24, problem: str = "") -> list[str]:
    return frame(doc, Size(columns, lines), NOW, styled=False, problem=problem)


def large() -> Snapshot:
    doc = halted().take()
    one = doc.validators[0]
    many = [replace(one, address=f"{number:040X}", name=None, own=number == 150, index=number) for number in range(180)]
    return replace(doc, validators=many)


def test_a_halt_looks_as_it_was_looked_at() -> None:
    text = "\n".join(line.rstrip() for line in drawn(halted().take(), lines=None)) + "\n"
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
@pytest.mark.parametrize("lines", [1, 5, 24, 60])
def test_a_frame_keeps_to_the_terminal(columns: int, lines: int) -> None:
    rows = drawn(large(), columns, lines)
    assert len(rows) <= lines
    assert all(len(row) <= columns for row in rows)


def test_ones_own_come_first_and_the_rest_is_counted() -> None:
    rows = drawn(large(), 80, 24)
    table = rows[next(number for number, row in enumerate(rows) if "Validator" in row) + 1 :]
    assert table[0].startswith("* 00000000")
    assert "000000000000" in table[0]
    (more,) = [row for row in table if " more" in row]
    assert int(more.split()[1]) + len([row for row in table if "none" in row]) == 180


def test_a_hostile_text_steers_no_terminal() -> None:
    scene = halted()
    doc = scene.take()
    named = [replace(one, name=HOSTILE) for one in doc.validators]
    doc = replace(
        doc,
        chain=HOSTILE,
        step=HOSTILE,
        validators=named,
        missing=[replace(one, name=HOSTILE) for one in doc.missing],
        proposer=Member(NODE2, HOSTILE),
        node=replace(doc.node, words=HOSTILE),
    )
    for row in drawn(doc, 100, None, problem=HOSTILE):
        assert row.isprintable(), row
        assert "\u202e" not in row
    styled = frame(doc, Size(100, 24), NOW, styled=True)
    assert all(row.count("\x1b") in (0, 2) for row in styled)


def test_an_old_document_says_so_first() -> None:
    assert drawn(halted().take(), problem="no answer")[0] == "OLD DATA: no answer"


def test_failed_rounds_and_missed_heights_are_told() -> None:
    scene = Scene()
    scene.play(until=NOW)
    current = scene.ledger.current
    assert current is not None
    current.rounds[1] = dataclasses.replace(current.rounds[0], number=1)
    current.rounds[0].timed_out = True
    scene.verdict = dataclasses.replace(scene.verdict, condition=Condition.MANY_ROUNDS)
    scene.history.count(Story(7, absent=range(3), nil=[3]).settled())
    text = "\n".join(drawn(scene.take(), 120, None))
    assert "round 0 of node0: no proposal in time; prevotes 50.0 % block, 0.0 % nil, 50.0 % none" in text
    assert "00000000, 00000000, 00000000 / 00000000" in text


def test_before_anything_is_known_the_frame_says_that() -> None:
    text = "\n".join(drawn(Scene().take()))
    assert "Nothing has been told of consensus yet." in text
    assert "The validator set is not known yet." in text
    assert "0.0 %" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (7200, "2 h"), (90061, "1 d 1 h")],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "columns", "fitted"),
    [("abc", 5, "abc  "), ("abcdef", 3, "abc"), ("鯨鯨", 3, "鯨 "), ("e\u0301x", 2, "e\u0301x"), ("", 0, "")],
)
def test_wide_and_combining_characters_take_the_columns_that_they_have(text: str, columns: int, fitted: str) -> None:
    assert fit(text, columns, pad=True) == fitted


def test_an_unknown_name_is_its_addresss_beginning() -> None:
    one: Validator = halted().take().validators[0]
    doc = replace(halted().take(), validators=[replace(one, name=None)])
    assert any("1DA39A67 " in row for row in drawn(doc))
