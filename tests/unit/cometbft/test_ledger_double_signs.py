"""Somebody signed twice: told once, by whichever proof comes first."""

from __future__ import annotations

import msgspec
import pytest

from chainwatch.families.cometbft.consensus import evidence
from chainwatch.families.cometbft.consensus.events import (
    FLAG_NIL,
    PRECOMMIT,
    PREVOTE,
    BlockId,
    Convict,
    Evidence,
    EvidenceValue,
    NewEvidence,
    Vote,
)
from chainwatch.families.cometbft.consensus.ledger import KEPT_SETTLED
from chainwatch.families.cometbft.consensus.model import (
    NIL,
    OWN_NODE,
    DoubleSign,
    EvidenceType,
    FillReason,
    Misbehaviour,
    Proof,
)

from .ledger_chain import (
    CHAIN,
    EVERYONE,
    Heard,
    address,
    at,
    block,
    block_hash,
    commit,
    duplicate_vote,
    heard,
    new_block,
    stream,
    vote,
)

BY_2 = address(2)


@pytest.fixture
def chain() -> Heard:
    """Two vantage points that watched height 4, of which 3 is settled."""
    chain = heard(chain_id=CHAIN)
    chain.follow(3, 4)
    chain.follow(4, vantage=1)
    return chain


def agree(chain: Heard, height: int, vantage: int = 1) -> None:
    """Show that a vantage point is on the watched node's history."""
    for teller in (OWN_NODE, vantage):
        chain.take(*(vote(PREVOTE, height, who, round_number=9) for who in (0, 1, 3)), vantage=teller)


@pytest.mark.parametrize("kind", [PREVOTE, PRECOMMIT])
def test_different_votes_of_vantage_points_on_one_history_are_a_double_sign_at_once(chain: Heard, kind: int) -> None:
    agree(chain, 5)
    chain.take(vote(kind, 5, 2), seen=at(5, 1.5))
    chain.take(vote(kind, 5, 2, block=NIL), seen=at(5, 1.6), vantage=1)
    assert chain.double_signs == [DoubleSign(BY_2, 5, 0, kind, Proof.VANTAGE)]
    chain.take(vote(kind, 5, 2, block=NIL), vote(kind, 5, 2), vantage=1)
    assert len(chain.double_signs) == 1


def test_the_same_vote_for_another_round_height_or_of_another_type_is_no_double_sign(chain: Heard) -> None:
    chain.take(vote(PREVOTE, 5, 2), vote(PRECOMMIT, 5, 2, block=NIL), vote(PREVOTE, 5, 2, round_number=1, block=NIL))
    chain.take(vote(PREVOTE, 5, 2), vote(PREVOTE, 6, 2), vantage=1)
    assert chain.double_signs == []


def test_a_slower_vantage_point_may_show_it_when_the_height_is_settled_already(chain: Heard) -> None:
    chain.follow(5, 6)
    chain.take(vote(PRECOMMIT, 5, 2, block="D" * 64), vantage=1)
    chain.follow(7)
    assert chain.double_signs == [DoubleSign(BY_2, 5, 0, PRECOMMIT, Proof.VANTAGE)]


def test_before_a_vantage_point_proved_its_history_its_votes_wait_until_the_height_is_settled(chain: Heard) -> None:
    chain.take(vote(PREVOTE, 5, 2, block=NIL), seen=at(5, 1), vantage=1)
    chain.follow(5)
    assert chain.double_signs == []
    chain.follow(6)
    assert chain.double_signs == [DoubleSign(BY_2, 5, 0, PREVOTE, Proof.VANTAGE)]


def test_a_vantage_point_that_proves_its_history_afterwards_proves_the_double_sign_then(chain: Heard) -> None:
    chain.take(vote(PRECOMMIT, 5, 2))
    chain.take(vote(PRECOMMIT, 5, 2, block=NIL), vantage=1)
    assert chain.double_signs == []
    agree(chain, 5)
    assert chain.double_signs == [DoubleSign(BY_2, 5, 0, PRECOMMIT, Proof.VANTAGE)]


def test_votes_for_nil_do_not_prove_a_vantage_points_history(chain: Heard) -> None:
    for teller in (OWN_NODE, 1):
        chain.take(*(vote(PREVOTE, 5, who, block=NIL) for who in (0, 1, 3)), vantage=teller)
    chain.take(vote(PREVOTE, 5, 2))
    chain.take(vote(PREVOTE, 5, 2, block="D" * 64), vantage=1)
    assert chain.double_signs == []


def test_two_vantage_points_of_one_fork_prove_nothing_to_each_other(chain: Heard) -> None:
    chain.follow(4, vantage=2)
    for teller in (1, 2):
        chain.take(*(vote(PREVOTE, 5, who, block="D" * 64) for who in EVERYONE), vantage=teller)
    chain.take(vote(PREVOTE, 5, 2))
    assert chain.double_signs == []


def test_a_vantage_point_of_another_history_makes_nobody_a_double_signer(
    chain: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    for height in (5, 6, 7):
        for seen, event in stream(height):
            chain.take(event, seen=seen)
            if isinstance(event, Vote):
                chain.take(msgspec.structs.replace(event, block_id=BlockId("D" * 64)), seen=seen, vantage=1)
    assert chain.heights == [3, 4, 5, 6]
    assert chain.double_signs == []
    assert [settled.contradictions for settled in chain.settled] == [frozenset()] * 4
    assert caplog.text.count("this is a fork of the chain and no double sign") == 1
    assert "in height 5 the votes of 2 of 4 validators" in caplog.text


def test_what_contradicts_a_block_that_only_a_vantage_point_told_is_no_double_sign_until_the_node_tells_it_too(
    chain: Heard,
) -> None:
    chain.follow(5)
    chain.take(vote(PRECOMMIT, 6, 2, block=NIL), seen=at(6, 1))
    chain.take(new_block(6), new_block(7), seen=at(7), vantage=1)
    assert chain.heights == [3, 4, 5, 6]
    assert (chain.double_signs, chain.settled[-1].contradictions) == ([], frozenset())
    chain.take(new_block(6), seen=at(7))
    assert chain.double_signs == [DoubleSign(BY_2, 6, 0, PRECOMMIT, Proof.COMMIT)]


@pytest.mark.parametrize(("vantage", "counted"), [(OWN_NODE, True), (1, False)])
def test_what_contradicts_a_block_read_from_a_vantage_point_is_no_double_sign(
    chain: Heard, vantage: int, counted: bool
) -> None:
    chain.follow(5)
    chain.take(vote(PRECOMMIT, 6, 2, block=NIL), seen=at(6, 1))
    chain.ledger.fill(block(6), block_hash(6), commit(6), FillReason.NODE, vantage)
    assert chain.heights == [3, 4, 5, 6]
    assert bool(chain.double_signs) is counted


def test_who_is_no_member_signs_nothing_twice(chain: Heard) -> None:
    agree(chain, 5)
    chain.take(vote(PREVOTE, 5, 8))
    chain.take(vote(PREVOTE, 5, 8, block=NIL), vantage=1)
    chain.follow(5, 6)
    assert chain.double_signs == []


def test_votes_of_long_settled_heights_are_no_longer_compared(chain: Heard) -> None:
    chain.follow(*range(5, 8 + KEPT_SETTLED))
    chain.take(vote(PRECOMMIT, 5, 2, block="D" * 64), vantage=1)
    assert chain.double_signs == []
    assert chain.ledger.counters.late == 1


def test_evidence_as_an_event_and_in_its_block_is_one_double_sign(chain: Heard) -> None:
    piece = duplicate_vote(5, 2)
    chain.take(NewEvidence(6, piece))
    assert chain.double_signs == [DoubleSign(BY_2, 5, 0, PREVOTE, Proof.EVIDENCE)]
    chain.take(new_block(6, evidence=[piece]), NewEvidence(6, piece), vantage=1)
    assert len(chain.double_signs) == 1


def test_evidence_after_the_vantage_points_showed_it_is_not_told_again(chain: Heard) -> None:
    agree(chain, 5)
    chain.take(vote(PREVOTE, 5, 2))
    chain.take(vote(PREVOTE, 5, 2, block=NIL), vantage=1)
    chain.take(NewEvidence(6, duplicate_vote(5, 2)))
    assert [found.proof for found in chain.double_signs] == [Proof.VANTAGE]


def test_the_evidence_of_a_filled_block_counts_too(chain: Heard) -> None:
    chain.follow(5)
    piece = duplicate_vote(4, 2)
    chain.ledger.fill(block(6, evidence=[piece]), block_hash(6), commit(6), FillReason.EXPORTER)
    chain.serve()
    assert [found.proof for found in chain.double_signs] == [Proof.EVIDENCE]
    assert chain.settled[-1].misbehaviour == (Misbehaviour(EvidenceType.DUPLICATE_VOTE, (BY_2,)),)


def test_two_pieces_of_evidence_of_one_height_are_two_double_signs(chain: Heard) -> None:
    chain.take(new_block(6, evidence=[duplicate_vote(5, 2), duplicate_vote(5, 2, PRECOMMIT)]))
    assert [found.type for found in chain.double_signs] == [PREVOTE, PRECOMMIT]


@pytest.mark.parametrize(("flag", "seen"), [(None, NIL), (None, "D" * 64), (FLAG_NIL, None)])
def test_a_precommit_that_is_not_the_one_in_the_commit_is_a_double_sign(
    chain: Heard, flag: int | None, seen: str | None
) -> None:
    flags = {} if flag is None else {2: flag}
    for told, event in stream(5):
        chain.take(event, seen=told) if event != vote(PRECOMMIT, 5, 2) else None
    chain.take(vote(PRECOMMIT, 5, 2, block=seen), seen=at(5, 2.2))
    chain.take(new_block(6, flags), seen=at(6))
    assert chain.double_signs == [DoubleSign(BY_2, 5, 0, PRECOMMIT, Proof.COMMIT)]
    assert chain.settled[-1].contradictions == {BY_2}


def test_a_precommit_of_another_round_than_the_committed_one_contradicts_nothing(chain: Heard) -> None:
    chain.follow(5)
    chain.take(vote(PRECOMMIT, 5, 2, round_number=1, block=NIL))
    chain.follow(6)
    assert chain.double_signs == []
    assert chain.settled[-1].contradictions == frozenset()


def test_what_was_told_before_a_restart_is_not_told_again(chain: Heard) -> None:
    chain.take(NewEvidence(6, duplicate_vote(5, 2)))
    again = heard(settled=4, known=chain.ledger.known_double_signs)
    again.take(new_block(6, evidence=[duplicate_vote(5, 2), duplicate_vote(5, 3)]))
    assert [found.validator for found in again.double_signs] == [address(3)]


def test_the_memory_of_double_signs_is_bounded(chain: Heard) -> None:
    for height in range(1, evidence.MAX_KNOWN + 10):
        chain.take(NewEvidence(6, duplicate_vote(height, 2)))
    assert [found.height for found in chain.ledger.known_double_signs] == list(range(10, evidence.MAX_KNOWN + 10))


@pytest.mark.parametrize("value", [
    None,
    EvidenceValue(),
    EvidenceValue(vote(PREVOTE, 5, 2)),
    EvidenceValue(vote(PREVOTE, 5, 2), vote(PREVOTE, 5, 3)),
    EvidenceValue(vote(9, 5, 2), vote(9, 5, 2)),
    EvidenceValue(
        msgspec.structs.replace(vote(PREVOTE, 5, 2), height=2**70),
        msgspec.structs.replace(vote(PREVOTE, 5, 2), height=2**70),
    ),
    EvidenceValue(vote(PREVOTE, 5, 2, round_number=2**31), vote(PREVOTE, 5, 2)),
])  # fmt: skip
def test_evidence_without_two_votes_of_one_validator_proves_no_double_sign(
    chain: Heard, value: EvidenceValue | None
) -> None:
    chain.take(NewEvidence(6, Evidence("tendermint/DuplicateVoteEvidence", value)))
    assert chain.double_signs == []


CONVICTS = [Convict(address(1)), Convict("<b>"), Convict(BY_2)]


@pytest.mark.parametrize("value", [EvidenceValue(to_0_40=CONVICTS), EvidenceValue(since_1_0=CONVICTS)])
def test_a_light_client_attack_is_told_with_its_height_and_convicts_those_that_took_part(
    chain: Heard, value: EvidenceValue
) -> None:
    attack = Evidence("tendermint/LightClientAttackEvidence", value)
    chain.follow(5)
    chain.take(NewEvidence(6, attack), new_block(6, evidence=[attack, Evidence("other/Evidence")]), new_block(7))
    assert chain.double_signs == []
    assert [settled.misbehaviour for settled in chain.settled] == [
        (), (), (), (Misbehaviour(EvidenceType.LIGHT_CLIENT_ATTACK, (address(1), BY_2)),),
    ]  # fmt: skip
