"""The window of recent active blocks."""

import pytest

from chainwatch.families.bitcoin.tracker.active_chain import WINDOW, ActiveChain, Block


def block(height: int, name: str = "a", previous: str | None = None) -> Block:
    below = previous or f"{height - 1:063x}{name}"
    return Block(
        height, f"{height:063x}{name}", below, 1_700_000_000 + height, f"{2 * height:x}", 1_700_000_000.0 + height
    )


def test_the_window_holds_a_bounded_number_of_blocks_and_forgets_the_oldest() -> None:
    chain = ActiveChain(block(height) for height in range(1, WINDOW + 11))

    assert len(chain) == WINDOW
    assert chain.bottom == block(11)
    assert chain.tip == block(WINDOW + 10)
    assert block(10).hash not in chain
    assert chain.get(block(11).hash) == block(11)


def test_a_block_that_does_not_stand_on_the_tip_is_refused() -> None:
    chain = ActiveChain([block(1), block(2)])

    with pytest.raises(ValueError, match="does not stand on"):
        chain.connect(block(4))
    with pytest.raises(ValueError, match="does not stand on"):
        chain.connect(block(3, "b"))
    with pytest.raises(ValueError, match="does not stand on"):
        chain.connect(block(5, previous=block(2).hash))
    assert chain.tip == block(2)


def test_disconnecting_goes_back_to_the_parent_until_nothing_is_left() -> None:
    chain = ActiveChain([block(1), block(2)])

    assert chain.disconnect() == block(2)
    assert block(2).hash not in chain
    assert chain.tip == block(1)
    chain.disconnect()
    assert chain.tip is None
    assert chain.bottom is None
    with pytest.raises(ValueError, match="no block"):
        chain.disconnect()


def test_older_blocks_can_be_put_below() -> None:
    chain = ActiveChain([block(5)])

    chain.extend_down([block(3), block(4)])

    assert [kept.height for kept in chain.blocks] == [3, 4, 5]
    assert chain.get(None) is None
