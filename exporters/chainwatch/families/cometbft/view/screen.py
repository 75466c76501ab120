"""One frame of `chainwatch cometbft top`: the document as lines of text.

Whatever the document says is text from others: what could steer a terminal is escaped, and everything is cut to the
width that it has.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from chainwatch.exposition.report import printable
from chainwatch.families.cometbft.view.document import Member, Missing, Settled, Snapshot, Validator, Votes
from chainwatch.families.cometbft.view.words import percent

BOLD, REVERSED, FAINT, PLAIN = "\x1b[1m", "\x1b[7m", "\x1b[2m", "\x1b[0m"
NAMES_SHOWN = 6
BAR = 30
# Settled heights shown below the validators where room is short.
HEIGHTS = 5
MARKS = {"yes": "+ yes", "nil": "0 nil", "none": "- none", "unknown": "?"}


class Size(NamedTuple):
    """Of the terminal, in characters."""

    columns: int
    lines: int | None  # None where everything is to be shown


def frame(doc: Snapshot, size: Size, now: float, *, styled: bool, problem: str = "") -> list[str]:
    """Return the lines, at most as many as there is room for; `problem` says why the document is an old one."""
    top = [(REVERSED, f"OLD DATA: {problem}")] if problem else []
    top += _top(doc, now, size.columns)
    if size.lines is None:
        lines = [*top, *_validators(doc, None), *_heights(doc.last_heights)]
    else:
        heights = list(_heights(doc.last_heights[-HEIGHTS:]))
        lines = [*top, *_validators(doc, max(0, size.lines - len(top) - len(heights))), *heights][: size.lines]
    return [_styled(fit(printable(text), size.columns), style if styled else "") for style, text in lines]


def fit(text: str, columns: int, pad: bool = False) -> str:
    """Cut a text to a number of columns, and fill it up if wanted."""
    width, kept = 0, []
    for char in text:
        width += _columns(char)
        if width > columns:
            width -= _columns(char)
            break
        kept.append(char)
    return "".join(kept) + (" " * (columns - width) if pad else "")


def duration(seconds: float) -> str:
    """A time span in at most two units."""
    whole = max(0, int(seconds))
    units = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(units) if count), len(units) - 1)
    shown = [(count, unit) for count, unit in units[first : first + 2] if count or unit == units[first][1]]
    return " ".join(f"{count} {unit}" for count, unit in shown)


def called(member: Member | Missing | Validator) -> str:
    """Name, else the first digits of the address."""
    return member.name or member.address[:8]


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _styled(text: str, style: str) -> str:
    return f"{style}{text}{PLAIN}" if style and text else text


Line = tuple[str, str]  # style, text


def _top(doc: Snapshot, now: float, columns: int) -> Iterator[Line]:
    node = doc.node
    block = "" if node.height is None else f", newest block {node.height}"
    yield "", f"{doc.chain or 'unknown chain'}{block}, as of {_clock(doc.time)}"
    for words in textwrap.wrap(node.words, max(20, columns - 2)):
        yield BOLD if node.condition == "running" else REVERSED, f" {words} "
    yield "", f"For {duration(now - node.since)}, since {_clock(node.since)}. {_node(doc)}"
    yield "", ""
    yield "", _where(doc, now)
    present = next((entry for entry in doc.rounds if entry.round == doc.round), None)
    yield "", "Prevotes   " + _bar(present.prevotes if present else None, doc.prevoted)
    yield "", "Precommits " + _bar(present.precommits if present else None, doc.precommitted)
    for entry in doc.rounds[-4:-1]:
        proposer = called(entry.proposer) if entry.proposer else "an unknown proposer"
        yield "", f"  round {entry.round} of {proposer}: {_tried(entry.timed_out, entry.prevotes, entry.precommits)}"
    yield from _missing(doc, now)
    yield "", ""


def _node(doc: Snapshot) -> str:
    if not doc.node.answering:
        return "The node does not answer."
    peers = doc.node.peers
    return "" if peers is None else f"The node has {peers} peer{'s' * (peers != 1)}."


def _where(doc: Snapshot, now: float) -> str:
    if doc.height is None:
        return "Nothing has been told of consensus yet."
    parts = [f"Height {doc.height}"]
    if doc.round is not None:
        parts.append(f"round {doc.round}")
    if doc.step:
        parts.append(f"step {doc.step}")
    if doc.proposer:
        parts.append(f"proposer {called(doc.proposer)}")
    if doc.started is not None:
        parts.append(f"begun {duration(now - doc.started)} ago")
    return ", ".join(parts)


def _bar(votes: Votes | None, voted: float | None) -> str:
    """Shares of the power, with a mark at two thirds."""
    if votes is None:
        return "not known" if voted is None else f"{percent(voted)} of the power has voted; who, is not known"
    block = int(votes.block * BAR)
    nil = int((votes.block + votes.nil) * BAR) - block
    cells = list("#" * block + "~" * nil + "." * (BAR - block - nil))
    cells.insert(BAR * 2 // 3, "|")
    nils = f", {percent(votes.nil)} nil" if votes.nil else ""
    enough = "enough" if votes.quorum else "more than 66.7 % is needed"
    return f"[{''.join(cells)}] {percent(1 - votes.none)}{nils}; {enough}"


def _tried(timed_out: bool, prevotes: Votes | None, precommits: Votes | None) -> str:
    """How a round went that is over."""
    said = ["no proposal in time"] if timed_out else []
    for name, votes in (("prevotes", prevotes), ("precommits", precommits)):
        if votes:
            said.append(f"{name} {percent(votes.block)} block, {percent(votes.nil)} nil, {percent(votes.none)} none")
    return "; ".join(said) or "nothing known"


def _missing(doc: Snapshot, now: float) -> Iterator[Line]:
    if not doc.missing or doc.power is None:
        return
    total = doc.power.total
    share = sum(missing.power for missing in doc.missing) / total
    yield BOLD, f"Missing: {len(doc.missing)} with {percent(share)} of the power"
    for missing in doc.missing[:NAMES_SHOWN]:
        mark = "*" if missing.own else " "
        share_of_one = percent(missing.power / total)
        yield "", f"{mark} {_cell(missing)} {share_of_one:>7}  {duration(now - missing.since)}"
    if len(doc.missing) > NAMES_SHOWN:
        yield "", f"  and {len(doc.missing) - NAMES_SHOWN} more"


def _validators(doc: Snapshot, room: int | None) -> Iterator[Line]:
    """The table: one's own first, then those that are missing; as many as there is room for."""
    if not doc.validators or doc.power is None:
        yield "", "The validator set is not known yet."
        return
    gone = {missing.address for missing in doc.missing}
    ranked = sorted(doc.validators, key=lambda one: (not one.own, one.address not in gone, one.index))
    yield (
        FAINT,
        f"  {'Validator (* yours)':<24} {'Address':<12} {'Power':>7}  {'Prevote':<8} {'Precommit':<9} Missed",
    )
    shown = ranked if room is None or len(ranked) + 1 <= room else ranked[: max(0, room - 2)]
    for one in shown:
        mark = "*" if one.own else " "
        share = percent(one.power / doc.power.total)
        marks = f"{MARKS[one.prevote]:<8} {MARKS[one.precommit]:<9} {one.consecutive_missed}"
        yield BOLD if one.own else "", f"{mark} {_cell(one)} {one.address[:12]:<12} {share:>7}  {marks}"
    if len(shown) < len(ranked):
        yield FAINT, f"  and {len(ranked) - len(shown)} more"


def _cell(one: Missing | Validator) -> str:
    """Its name, in a column of the table."""
    return fit(printable(called(one)), 24, pad=True)


def _heights(heights: Sequence[Settled]) -> Iterator[Line]:
    if not heights:
        return
    yield "", ""
    yield FAINT, "  Height    Round  Interval  Absent / nil"
    for one in reversed(heights):
        interval = "-" if one.interval is None else f"{one.interval:.1f} s"
        absent, nil = _names(one.absent) or "-", _names(one.nil) or "-"
        yield "", f"  {one.height:<9} {one.round:<5}  {interval:<8}  {absent} / {nil}"


def _names(members: Iterable[Member]) -> str:
    names = [called(member) for member in members]
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
