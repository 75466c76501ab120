"""Reading /consensus_state: the texts of nodes we ran, of an old one, and of one that says anything."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chainwatch.families.cometbft.consensus.model import NIL, Validator, ValidatorSet
from chainwatch.families.cometbft.schema import RoundVotes
from chainwatch.families.cometbft.tracker.consensus_state import Standing, Votes, standing, votes

NODES = {
    "node3": "1DA39A678B60D13FEF148D4B7CCA44182112716E",
    "node0": "63D55B36139650643B22251A44066B2215A15318",
    "node1": "87FA79E10BE771C2AE616A99D9461D471E3C176A",
    "node2": "A7D7E36606085B53D5AB5F6FD3BAAC6A51D11B45",
}
SET = ValidatorSet("", tuple(Validator(address, 10) for address in NODES.values()))
# Recorded: height 6 of the scenario halt, with node2 and node3 stopped.
HALT = [
    "nil-Vote",
    "Vote{1:63D55B361396 6/00/SIGNED_MSG_TYPE_PREVOTE(Prevote) A2D702A899B2 67C3257CA190 000000000000"
    " @ 2026-11-22T11:37:00.037367944Z}",
    "Vote{2:87FA79E10BE7 6/00/SIGNED_MSG_TYPE_PREVOTE(Prevote) A2D702A899B2 C152D3E4B65D 000000000000"
    " @ 2026-11-22T11:37:00.137346271Z}",
    "nil-Vote",
]
HALT_BITS = "BA{4:_xx_} 20/40 = 0.50"
NONE = ["nil-Vote"] * 4
NO_BITS = "BA{4:____} 0/40 = 0.00"


def read(texts: list[str], bits: str) -> Votes:
    found = votes(texts, bits)
    assert found is not None
    return found


def test_a_halt_tells_who_voted_and_how_much_power_is_lacking() -> None:
    found = read(HALT, HALT_BITS)

    assert found.voted == (False, True, True, False)
    assert found.blocks == (None, "A2D702A899B2", "A2D702A899B2", None)
    assert found.share == 0.5
    assert not found.quorum
    assert found.lacking == 7 / 40  # 27 of 40 are more than two thirds
    assert found.missing(SET) == (NODES["node3"], NODES["node2"])


def test_a_vote_for_nil_is_a_vote() -> None:
    # Recorded: index 3 of the scenario consensus_failure.
    nil = (
        "Vote{3:1DA39A678B60 14/00/SIGNED_MSG_TYPE_PREVOTE(Prevote) 000000000000 019B0BC00C16 000000000000"
        " @ 2026-11-22T11:46:28.079116687Z}"
    )
    found = read([*NONE[:3], nil], "BA{4:___x} 9/39 = 0.23")
    assert found.blocks[3] == NIL
    assert found.voted[3]


def test_texts_of_old_nodes_without_the_extension_and_with_a_number_for_the_type_are_read() -> None:
    old = "Vote{0:000001E443FD 1262197/00/1(Prevote) 634ADAF1F402 7BB974E1BA40 @ 2019-08-01T11:52:35.513572509Z}"
    assert read([old], "BA{1:x} 5/5 = 1.00").blocks == ("634ADAF1F402",)


def test_two_thirds_exactly_are_no_quorum() -> None:
    assert not read([], "BA{3:xx_} 20/30 = 0.67").quorum
    assert read([], "BA{3:xx_} 20/30 = 0.67").lacking == 1 / 30
    assert read([], "BA{3:xxx} 21/30 = 0.70").quorum
    assert read([], "BA{3:xxx} 21/30 = 0.70").lacking == 0


def test_the_array_counts_where_a_text_is_unreadable() -> None:
    found = read(["nil-Vote", "Vote{1:63D55", "\x00", ""], "BA{4:_xxx} 30/40 = 0.75")
    assert found.voted == (False, True, True, True)
    assert found.blocks == (None, None, None, None)
    assert found.missing(SET) == (NODES["node3"],)


def test_long_arrays_may_be_broken_into_lines() -> None:
    assert read([], "BA{6:xx_\n x__} 3/6 = 0.50").voted == (True, True, False, True, False, False)


@pytest.mark.parametrize(
    "bits",
    [
        "",
        "BA{4:_xx_}",
        "BA{5:_xx_} 20/40 = 0.50",  # its length is another
        "BA{4:_xx_} 50/40 = 1.25",
        "BA{0:} 0/0 = NaN",
        "BA{4:_yx_} 20/40 = 0.50",
        "BA{٤:_xx_} 20/40 = 0.50",
        "nil-BitArray",
        "BA{99999:" + "x" * 99999 + "} 1/1 = 1.00",
    ],
)
def test_an_array_that_is_none_tells_nothing(bits: str) -> None:
    assert votes(HALT, bits) is None


def test_nobody_is_named_by_a_set_that_is_another() -> None:
    shifted = ValidatorSet("", (*SET.members[1:], SET.members[0]))
    assert read(HALT, HALT_BITS).missing(shifted) == ()
    assert read(HALT, HALT_BITS).missing(ValidatorSet("", SET.members[:3])) == ()
    assert read(HALT, HALT_BITS).missing(None) == ()


def test_where_consensus_stands() -> None:
    rounds = [
        RoundVotes(0, HALT, HALT_BITS, NONE, NO_BITS),
        RoundVotes(1, NONE, NO_BITS, NONE, NO_BITS),
    ]
    started = datetime(2026, 11, 22, 11, 37, tzinfo=UTC)

    found = standing("6/0/4", started, rounds)

    assert found == Standing(6, 0, "Prevote", started.timestamp(), votes(HALT, HALT_BITS), votes(NONE, NO_BITS))
    assert found.awaited == found.prevotes
    later = standing("6/1/6", started, rounds)
    assert later is not None
    assert later.step == "Precommit"
    assert later.awaited == later.precommits == votes(NONE, NO_BITS)


def test_votes_of_a_round_that_is_not_told_are_not_known() -> None:
    found = standing("6/3/4", None, [RoundVotes(0, HALT, HALT_BITS, NONE, NO_BITS)])
    assert found == Standing(6, 3, "Prevote", None, None, None)


@pytest.mark.parametrize("position", ["", "6/0", "6/0/9", "6/0/0", "-6/0/4", "6/0/4/1", "6/0/4\n", "6" * 30 + "/0/4"])
def test_a_position_that_is_none_tells_nothing(position: str) -> None:
    assert standing(position, None, []) is None
