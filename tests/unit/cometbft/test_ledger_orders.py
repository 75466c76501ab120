"""However the events come, doubled, split between vantage points, overtaking each other: the settled truth is one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.families.cometbft.consensus.events import FLAG_ABSENT, FLAG_COMMIT, FLAG_NIL, Event, NewBlock, Vote
from chainwatch.families.cometbft.consensus.model import How, Settled

from .ledger_chain import CHAIN, EVERYONE, HEALTHY, Course, Heard, block_hash, heard, new_block, stream

FIRST, LAST = 2, 6


@st.composite
def courses(draw: st.DrawFn) -> dict[int, Course]:
    """How each height went; at most one validator is absent, and at most one did not let its precommit be seen."""
    made = {}
    for height in range(FIRST, LAST):
        who, flag = draw(st.sampled_from(EVERYONE)), draw(st.sampled_from((FLAG_COMMIT, FLAG_NIL, FLAG_ABSENT)))
        silent = draw(st.sets(st.sampled_from(EVERYONE), max_size=1))
        no_prevote = frozenset(silent) if flag != FLAG_ABSENT else frozenset()
        made[height] = Course({who: flag}, no_prevote, frozenset(draw(st.sets(st.sampled_from(EVERYONE), max_size=1))))
    return made


def told(courses: dict[int, Course]) -> list[tuple[float, Event]]:
    """All that a node tells of these heights, and the block after them."""
    lines = [
        line
        for height, course in courses.items()
        for line in stream(height, course, before=courses.get(height - 1, HEALTHY))
    ]
    return [*lines, *stream(LAST, before=courses[LAST - 1])]


def replay(lines: Sequence[tuple[float, int, Event]]) -> Heard:
    """Give the events to a ledger that settled height 1 and knows both vantage points."""
    chain = heard(settled=FIRST - 1, hash=block_hash(FIRST - 1), chain_id=CHAIN)
    chain.take(new_block(1), vantage=1)
    for seen, vantage, event in lines:
        chain.take(event, seen=seen, vantage=vantage)
    return chain


def truth(settled: Settled) -> tuple[object, ...]:
    return settled.block, settled.round, settled.set, settled.signatures, settled.misbehaviour


@settings(deadline=None, max_examples=60)
@given(st.data(), courses())
def test_any_order_and_any_repetition_gives_the_same_truth(data: st.DataObject, courses: dict[int, Course]) -> None:
    lines = told(courses)
    expected = replay([(seen, 0, event) for seen, event in lines])
    copies = [
        (*line, vantage) for line in lines for vantage in data.draw(st.sampled_from(((0,), (1,), (0, 1), (0, 0))))
    ]
    shuffled = data.draw(st.permutations(copies))
    chain = replay([(seen, vantage, event) for seen, event, vantage in shuffled])
    assert chain.heights == list(range(FIRST, LAST))
    assert list(map(truth, chain.settled)) == list(map(truth, expected.settled))
    assert chain.double_signs == []


@settings(deadline=None, max_examples=60)
@given(st.data(), courses())
def test_streams_that_overtake_each_other_by_less_than_the_pause_between_heights_show_the_same(
    data: st.DataObject, courses: dict[int, Course]
) -> None:
    lines = told(courses)
    expected = replay([(seen, 0, event) for seen, event in lines])
    # Each subscription of each vantage point keeps its own order and has its own lag.
    lags = {
        (vantage, kind): data.draw(st.floats(0, 0.5))
        for vantage in (0, 1)
        for kind in ("Vote", "NewBlock", "other")
    }  # fmt: skip
    copies = []
    for seen, event in lines:
        kind = "Vote" if isinstance(event, Vote) else "NewBlock" if isinstance(event, NewBlock) else "other"
        by = data.draw(st.sampled_from(((0,), (1,), (0, 1)))) if kind == "Vote" else (0, 1)
        copies += [(seen + lags[vantage, kind], vantage, event) for vantage in by]
    chain = replay(sorted(copies, key=lambda line: line[0]))
    for was, should in zip(chain.settled, expected.settled, strict=True):
        assert truth(was) == truth(should)
        assert was.how is should.how is How.WATCHED
        assert (was.prevotes, was.unseen, was.left_out) == (should.prevotes, should.unseen, should.left_out)
    assert chain.double_signs == []
