"""What cannot be is refused, and what is too much is forgotten: whoever answers on the port may send anything."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from chainwatch.families.cometbft.consensus import book
from chainwatch.families.cometbft.consensus.events import (
    PREVOTE,
    BlockId,
    CompleteProposal,
    Event,
    NewRound,
    Proposer,
    RoundState,
)
from chainwatch.families.cometbft.consensus.ledger import MAX_OPEN
from chainwatch.families.cometbft.consensus.model import How

from .ledger_chain import (
    address,
    at,
    heard,
    new_block,
    new_round,
    seen_of,
    step,
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
    chain = heard(settled=4)
    chain.follow(6)
    for height in range(7, MAX_OPEN + 10):
        chain.take(step(height, "NewHeight"))
    chain.take(new_block(5), new_block(7), seen=at(7))
    assert [(settled.block.height, settled.how) for settled in chain.settled] == [(5, How.PARTIAL), (6, How.PARTIAL)]
    assert seen_of(chain.settled[1]).opened == at(6, 2.1)
