"""What cannot be is refused, and what is too much is forgotten: whoever answers on the port may send anything."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from chainwatch.families.cometbft.consensus import book, ledger
from chainwatch.families.cometbft.consensus.events import (
    PREVOTE,
    BlockId,
    CompleteProposal,
    Event,
    NewRound,
    Proposer,
    RoundState,
    decode,
)
from chainwatch.families.cometbft.consensus.ledger import MAX_OPEN
from chainwatch.families.cometbft.consensus.model import How
from chainwatch.families.cometbft.frames import Data, Names, Result

from .ledger_chain import (
    CHAIN,
    address,
    at,
    heard,
    new_block,
    new_round,
    seen_of,
    step,
    stream,
    vote,
)


@pytest.mark.parametrize(
    "event",
    [
        msgspec.structs.replace(vote(PREVOTE, 5, 0), validator_address="<script>"),
        msgspec.structs.replace(vote(PREVOTE, 5, 0), validator_address=address(0xA).lower()),
        msgspec.structs.replace(vote(PREVOTE, 5, 0), block_id=BlockId("F" * 65)),
        msgspec.structs.replace(vote(PREVOTE, 5, 0), block_id=BlockId("rm -rf")),
        msgspec.structs.replace(vote(PREVOTE, 5, 0), type=32),
        msgspec.structs.replace(vote(PREVOTE, 5, 0), round=-1),
        msgspec.structs.replace(vote(PREVOTE, 5, 0), round=2**31),
        CompleteProposal(5, 0, "RoundStepPropose", BlockId("x" * 64)),
        new_block(-3),
    ],
    ids=["no address", "lower case", "long hash", "no hash", "type", "round", "high round", "proposal", "height"],
)
def test_what_cannot_be_is_refused_and_not_kept(event: Event) -> None:
    chain = heard()
    chain.take(event)
    assert chain.ledger.counters.refused
    heights = chain.ledger.heights.values()
    assert not any(seen.prevotes or seen.precommits or seen.proposal for h in heights for seen in h.rounds.values())
    assert set(chain.ledger.heights) <= {5}


def test_hostile_names_of_proposers_and_steps_are_not_kept() -> None:
    chain = heard()
    chain.take(NewRound(5, 0, Proposer("evil")), RoundState(5, 0, "RoundStepEvil", "NewRoundStep"))
    first = chain.ledger.heights[5].rounds[0]
    assert (first.proposer, first.steps) == ("", {})


def test_a_time_without_offset_in_the_year_1_is_a_time() -> None:
    chain = heard()
    chain.take(msgspec.structs.replace(vote(PREVOTE, 5, 0), timestamp=datetime(1, 1, 1)))
    assert chain.ledger.heights[5].rounds[0].prevotes[address(0)].timestamp < 0


def test_open_heights_rounds_and_voters_are_bounded_and_the_newest_are_kept() -> None:
    chain = heard()
    for height in range(1, MAX_OPEN + 50):
        chain.take(step(height, "NewHeight"))
    assert list(chain.ledger.heights) == list(range(50, MAX_OPEN + 50))
    for number in range(book.MAX_ROUNDS + 50):
        chain.take(new_round(60, number))
    assert list(chain.ledger.heights[60].rounds) == list(range(50, book.MAX_ROUNDS + 50))
    for who in range(book.MAX_VOTERS + 50):
        chain.take(vote(PREVOTE, 61, who))
    assert len(chain.ledger.heights[61].rounds[0].prevotes) == book.MAX_VOTERS
    assert chain.ledger.counters.refused == 50


def test_a_height_whose_votes_had_to_be_forgotten_is_partial() -> None:
    chain = heard(settled=4, chain_id=CHAIN)
    last = MAX_OPEN + 10
    chain.follow(*range(6, last + 1))
    assert list(chain.ledger.heights) == [*range(6, MAX_OPEN + 5), last], "the nearest, and the one it stands in"
    chain.take(new_block(5))
    chain.take(new_block(last + 1), seen=at(last + 1))
    how = {settled.block.height: settled.how for settled in chain.settled}
    assert how[5] is How.PARTIAL
    assert {height for height in how if how[height] is How.WATCHED} == {*range(6, MAX_OPEN + 4), last}
    forgotten = next(settled for settled in chain.settled if settled.block.height == MAX_OPEN + 5)
    assert (forgotten.how, seen_of(forgotten).opened) == (How.PARTIAL, at(MAX_OPEN + 5, 2.1))


def test_heights_made_up_far_ahead_do_not_push_out_the_real_one() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(4, 5)
    chain.follow(5, vantage=1)
    lines = stream(6)
    for seen, event in lines[:8]:
        chain.take(event, seen=seen)
    for height in range(1000, 1000 + 2 * MAX_OPEN):
        chain.take(step(height, "NewHeight"), vantage=1)
    for seen, event in lines[8:] + stream(7):
        chain.take(event, seen=seen)
    assert [settled.how for settled in chain.settled] == [How.WATCHED] * 3
    assert len(chain.ledger.heights) <= MAX_OPEN


def test_votes_have_one_budget_and_the_farthest_height_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_VOTES", 80)
    chain = heard(chain_id=CHAIN)
    chain.follow(4, 5)
    chain.follow(5, vantage=1)
    lines = stream(6)
    for seen, event in lines[:-2]:
        chain.take(event, seen=seen)
    for height in range(7, 50):
        for who in range(20):
            chain.take(vote(PREVOTE, height, who), vantage=1)
            kept = sum(map(book.count_votes, chain.ledger.heights.values()))
            assert kept <= 80
    assert len(chain.ledger.heights) > 3, "room is made by whole heights, and only as many as it takes"
    for seen, event in lines[-2:] + stream(7):
        chain.take(event, seen=seen)
    assert [settled.how for settled in chain.settled] == [How.WATCHED] * 3
    assert book.count_votes(seen_of(chain.settled[-1])) == 8


def test_votes_of_settled_heights_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_VOTES", 80)
    chain = heard()
    chain.follow(*range(1, 40))
    assert {settled.how for settled in chain.settled} == {How.WATCHED}


@pytest.mark.parametrize("number", [str(2**63), "-1", "1" + "0" * 400])
@pytest.mark.parametrize("name", ["NewRound", "NewRoundStep", "Vote", "NewBlock", "NewEvidence"])
def test_a_height_that_is_no_int64_is_not_decoded(name: str, number: str) -> None:
    value = b'{"height": "%s", "round": 0, "step": "RoundStepPropose"}' % number.encode()
    if name == "Vote":
        value = (
            b'{"Vote": {"type": 1, "height": "%s", "round": 0, "block_id": {}, "validator_address": "", \
"timestamp": "2026-01-01T00:00:00Z"}}'
            % number.encode()
        )
    elif name == "NewBlock":
        value = b'{"block": {"header": {"height": "%s", "time": "2026-01-01T00:00:00Z"}}}' % number.encode()
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        decode(Result("", Data("", msgspec.Raw(value)), Names([name])))
