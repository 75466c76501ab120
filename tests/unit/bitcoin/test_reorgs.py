"""What is a reorganisation, how deep, and whose: the rules without a node."""

import pytest

from chainwatch.families.bitcoin.tracker.active_chain import Block
from chainwatch.families.bitcoin.tracker.reorgs import SETTLE, Reorg, ReorgWatch, origin


def block(height: int, name: str, work: int | None = None) -> Block:
    return Block(height, f"{name}{height}", None, 0, f"{2 * height if work is None else work:x}", 0.0)


def play(watch: ReorgWatch, *steps: str, now: float = 0.0) -> None:
    """Steps such as -a3 (block a3 left) and +b3 (b3 joined)."""
    for step in steps:
        at = block(int(step[2:]), step[1])
        if step[0] == "-":
            watch.disconnected(at, now)
        else:
            watch.connected(at, now)


def test_blocks_that_only_join_are_no_reorganisation() -> None:
    watch = ReorgWatch()

    play(watch, "+a1", "+a2")

    assert watch.take(1000) == []
    assert not watch.pending


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_depth_is_the_number_of_blocks_from_the_fork(depth: int) -> None:
    watch = ReorgWatch()

    play(watch, *(f"-a{height}" for height in range(10, 10 - depth, -1)))
    play(watch, *(f"+b{height}" for height in range(11 - depth, 12)))
    [reorg] = watch.take(0)

    assert reorg.depth == depth
    assert reorg.overtaken
    assert origin(reorg, {"a10": "valid-fork", "b11": "active"}, ()) == "network"
    assert not watch.pending


def test_nothing_is_judged_until_the_new_branch_has_more_work() -> None:
    watch = ReorgWatch()

    play(watch, "-a3", "-a2", "+b2", "+b3")
    assert watch.take(0) == []
    play(watch, "+b4")

    assert [reorg.depth for reorg in watch.take(0)] == [2]


def test_blocks_that_leave_one_after_the_other_are_one_reorganisation() -> None:
    watch = ReorgWatch()

    for seconds, step in enumerate(("-a5", "-a4", "-a3")):
        play(watch, step, now=seconds)
        assert watch.take(seconds) == []
    [reorg] = watch.take(2 + SETTLE)

    assert reorg.depth == 3
    assert origin(reorg, {"a5": "invalid", "a2": "active"}, ()) == "operator"


def test_two_reorganisations_in_one_go_are_two() -> None:
    watch = ReorgWatch()

    play(watch, "-a3", "+b3", "+b4", "-b4", "-b3", "+a3", "+a4", "+a5")

    assert [reorg.depth for reorg in watch.take(0)] == [1, 2]


def test_forth_and_back_is_one_reorganisation_of_a_person() -> None:
    watch = ReorgWatch()

    play(watch, "-a3", "-a2", "+a2")
    assert watch.take(0) == []
    play(watch, "+a3", "+a4")
    [reorg] = watch.take(0)

    assert (reorg.depth, reorg.returned) == (2, True)
    assert origin(reorg, {"a3": "active"}, ()) == "operator"


def test_a_branch_that_fails_validation_halfway_is_the_networks_doing() -> None:
    watch = ReorgWatch()

    play(watch, "-a3", "-a2", "+b2", "-b2", "+a2", "+a3")
    [reorg] = watch.take(0)

    assert reorg.depth == 2
    assert origin(reorg, {"a3": "active", "b4": "invalid"}, ()) == "network"
    assert origin(reorg, {"a3": "active", "b4": "invalid"}, ("b4",)) == "operator"


def judged(left: str, came: str, *, interrupted: bool = False) -> Reorg:
    reorg = Reorg(block(int(left[-1]), left[0]), interrupted)
    reorg.disconnected(reorg.old_tip)
    reorg.connected(block(int(came[-1]), came[0]))
    return reorg


def test_preciousblock_leads_to_no_more_work() -> None:
    assert origin(judged("a3", "b3"), {"a3": "valid-fork"}, ()) == "operator"


def test_equal_work_after_an_absence_is_left_to_the_network() -> None:
    assert origin(judged("a3", "b3", interrupted=True), {"a3": "valid-fork"}, ()) == "network"


def test_what_was_put_away_and_returns_is_the_same_persons_doing() -> None:
    assert origin(judged("b3", "a4"), {"b3": "valid-fork"}, ("a4",)) == "operator"


def test_invalidateblock_stays_the_operators_when_the_chain_has_grown_on_since() -> None:
    assert origin(judged("a3", "b4"), {"a3": "invalid"}, ()) == "operator"


def test_without_getchaintips_more_work_is_the_networks() -> None:
    assert origin(judged("a3", "b4"), None, ()) == "network"
    assert origin(judged("a3", "b2"), None, ()) == "operator"


def test_a_reorganisation_can_turn_out_deeper_or_be_given_back() -> None:
    watch = ReorgWatch()
    play(watch, "-a3", "+b3", "+b4")

    assert watch.deepen("a3", 2)
    assert not watch.deepen("x9", 2)
    taken = watch.take(0)
    watch.give_back(taken)

    assert watch.pending
    assert [reorg.depth for reorg in watch.take(0)] == [3]
    play(watch, "-b4")
    watch.forget()
    assert not watch.pending
