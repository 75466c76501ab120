"""The tracker on a node with ZMQ: what each topic adds, and what happens when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chainwatch import errors
from chainwatch.families.bitcoin.settings import BitcoinSettings, Rpc
from chainwatch.families.bitcoin.tracker import tracker
from chainwatch.families.bitcoin.tracker.zmq_feed import MAX_EVENTS, BlockEvent, ZmqFeed, reachable
from tests.unit.bitcoin.fake_chain import FakeChain
from tests.unit.bitcoin.watching import Watch, hurry, settings, until, watching
from tests.unit.zmq_publisher import Publisher

# Far beyond any test: only ZMQ can have told.
NEVER = 3600.0


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def chain() -> FakeChain:
    chain = FakeChain()
    chain.mine(20)
    return chain


@pytest.fixture
def node() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


def publish(chain: FakeChain, publisher: Publisher, *topics: str) -> None:
    """Let the node report these topics, at this publisher's address."""
    chain.zmq = [{"type": f"pub{topic}", "address": publisher.address} for topic in topics]


@asynccontextmanager
async def following(chain: FakeChain, publisher: Publisher, poll: float = NEVER) -> AsyncIterator[Watch]:
    """Run a tracker until it has subscribed and found the tip."""
    async with watching(chain, zmq=True, poll=poll) as watch:
        await subscribed(watch, publisher)
        yield watch


async def subscribed(watch: Watch, publisher: Publisher) -> None:
    await until(publisher.subscriptions)
    await until(lambda: watch.value("chainwatch_stream_connected", stream="zmq") == 1)
    await until(lambda: watch.tracker.first_seen(watch.chain.tip) is not None)
    await until(lambda: not watch.tracker._woken.is_set())


async def test_a_new_tip_is_taken_from_the_sequence_topic_at_once(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        for block in chain.mine(3):
            node.connect(block)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 3)

        assert watch.tracker.first_seen(chain.tip) is not None
        assert watch.reorgs() == {}


@pytest.mark.parametrize("topic", ["hashblock", "sequence"])
async def test_a_reorganisation_is_noticed_without_waiting_for_a_poll(
    chain: FakeChain, node: Publisher, topic: str
) -> None:
    publish(chain, node, topic)
    async with following(chain, node) as watch:
        old = [block.hash for block in chain.branch(chain.tip)[:2]]
        new = chain.reorganise(2, 3)
        if topic == "hashblock":
            node.send("hashblock", bytes.fromhex(new[-1]))
        else:
            for block in old:
                node.disconnect(block)
            for block in new:
                node.connect(block)
        await until(watch.reorgs)

        assert watch.reorgs() == {"network": {2: 1}}
        assert watch.value("bitcoin_blocks_connected_total") == 3
        assert watch.value("bitcoin_blocks_disconnected_total") == 2


async def test_forth_and_back_between_two_looks_is_seen_by_sequence(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        top, below = (block.hash for block in chain.branch(chain.tip)[:2])
        for block in (top, below):
            node.disconnect(block)
        for block in (below, top):
            node.connect(block)
        await until(watch.reorgs)

        assert watch.reorgs() == {"operator": {2: 1}}
        assert watch.value("bitcoin_blocks_disconnected_total") == 2
        assert watch.value("bitcoin_blocks_connected_total") == 2


async def test_messages_that_are_late_count_nothing_twice(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence", "hashblock")
    async with following(chain, node, poll=0.01) as watch:
        old = [block.hash for block in chain.branch(chain.tip)[:2]]
        new = chain.reorganise(2, 4)
        # Every way to learn of it but the right one: the look comes first, by a message that was lost.
        node.send("sequence", b"", 77)
        node.send("sequence", b"", 99)
        await until(watch.reorgs)
        for block in old:
            node.disconnect(block)
        for block in new:
            node.connect(block)
        await watch.looks(5)

        assert watch.reorgs() == {"network": {2: 1}}
        assert watch.value("bitcoin_blocks_connected_total") == 4
        assert watch.value("bitcoin_blocks_disconnected_total") == 2


async def test_a_gap_is_counted_and_repaired_by_asking_the_node(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        node.connect(chain.mine(1)[0])
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 1)
        chain.reorganise(3, 5)
        node.numbers["sequence"] += 8  # three disconnects and five connects that never arrived
        node.mempool("A", 1)
        await until(watch.reorgs)

        assert watch.reorgs() == {"network": {3: 1}}
        assert watch.value("chainwatch_stream_gaps_total", stream="zmq") == 1
        assert watch.value("bitcoin_blocks_connected_total") == 6
        assert watch.value("chainwatch_stream_connected", stream="zmq") == 1


@pytest.mark.parametrize("topic", ["hashblock", "sequence"])
async def test_a_silent_stream_is_noticed_by_polling_and_subscribed_afresh(
    chain: FakeChain, node: Publisher, topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracker, "GRACE", 0.1)
    publish(chain, node, topic)
    async with following(chain, node, poll=0.02) as watch:
        chain.mine(2)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 2)
        assert "ZMQ is silent" in caplog.text
        await until(node.subscriptions)
        await until(lambda: watch.tracker._feed.health and watch.tracker._feed.health.is_open)
        # Whoever has missed a block and said nothing since is not sound, however well the connection stands.
        chain.mine(1)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 3)
        assert watch.value("chainwatch_stream_connected", stream="zmq") == 0
        [block] = chain.mine(1)
        node.send("hashblock", bytes.fromhex(block))
        node.connect(block)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 4)

        await until(lambda: watch.value("chainwatch_stream_connected", stream="zmq") == 1)
        assert caplog.text.count("ZMQ is silent") == 1


async def test_a_move_that_zmq_was_given_time_to_tell_of_happened_before_that_time(
    chain: FakeChain, node: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "GRACE", 0.2)
    publish(chain, node, "hashblock")
    async with following(chain, node, poll=0.01) as watch:
        mined = time.time()
        chain.mine(1)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 1)

        assert watch.tracker.moved_after is not None
        assert watch.tracker.moved_after <= mined


async def test_what_the_node_before_publishes_is_not_news_of_the_next(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node, poll=0.02) as watch:
        chain.forbidden["getzmqnotifications"] = errors.NodeTimeout("no answer yet where the next publishes")
        watch.tracker.other_node()
        await until(lambda: watch.value("chainwatch_stream_connected", stream="zmq") == 0)
        await watch.settled()
        node.disconnect(chain.tip)
        await asyncio.sleep(0.1)
        await watch.looks()

        assert watch.value("bitcoin_blocks_disconnected_total") == 0
        del chain.forbidden["getzmqnotifications"]
        watch.tracker.configure(settings(poll=0.02, zmq=True))
        await subscribed(watch, node)


class SlowToTell(FakeChain):
    """A node whose answer about ZMQ takes until `told` is set."""

    told: asyncio.Event

    async def call(self, method: str, *params: Any, into: Any = Any) -> Any:
        answer = await super().call(method, *params, into=into)
        if method == self.zmq_method:
            await self.told.wait()
        return answer


async def test_an_answer_of_the_node_before_is_not_where_the_next_publishes(node: Publisher) -> None:
    chain = SlowToTell()
    chain.told = asyncio.Event()
    publish(chain, node, "sequence")
    async with watching(chain, zmq=True) as watch:
        await until(lambda: chain.asked["getzmqnotifications"])
        await watch.settled()
        with Publisher() as other:
            publish(chain, other, "sequence")
            watch.tracker.other_node()
            chain.told.set()
            await subscribed(watch, other)

            assert not node.subscriptions()


async def test_zmq_that_is_merely_slower_than_a_poll_is_not_silent(
    chain: FakeChain, node: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node, poll=0.02) as watch:
        [block] = chain.mine(1)
        await watch.looks(3)
        assert watch.value("bitcoin_blocks_connected_total") == 0
        node.connect(block)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 1)

        assert "silent" not in caplog.text


async def test_invalidateblock_which_hashblock_never_announces_is_found_by_polling(
    chain: FakeChain, node: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracker, "GRACE", 0.1)
    publish(chain, node, "hashblock")
    async with following(chain, node, poll=0.02) as watch:
        chain.invalidate(2)
        await until(watch.reorgs)

        assert watch.reorgs() == {"operator": {2: 1}}
        assert "silent" not in caplog.text


async def test_a_flood_of_blocks_is_not_followed_one_by_one(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        before = chain.asked["getblockheader"]
        for block in chain.mine(900, seconds_ago=3 * 86400):
            node.connect(block)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 900)

        assert watch.reorgs() == {}
        assert chain.asked["getblockheader"] - before < 900


async def test_more_events_than_are_worth_following_become_one_question(chain: FakeChain) -> None:
    woken: list[bool] = []
    feed = ZmqFeed(chain, settings(zmq=True), lambda: woken.append(True))  # type: ignore[arg-type]

    for _ in range(5 * MAX_EVENTS):
        feed._take_message("sequence", bytes(32) + b"C")
    assert feed.take() == ([], True)
    feed._take_message("sequence", bytes(32) + b"C")

    assert feed.take() == ([BlockEvent("C", "00" * 32)], False)
    assert feed.take() == ([], False)
    assert woken


async def test_a_node_restart_is_a_reconnect_and_no_gap(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node, poll=0.05) as watch:
        node.connect(chain.mine(1)[0])
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 1)
        chain.error = errors.NodeUnreachable("connection refused")
        node.close()
        await until(lambda: watch.value("chainwatch_stream_connected", stream="zmq") == 0)
        chain.mine(2)
        with Publisher(node.port) as again:
            chain.error = None
            await subscribed(watch, again)
            await until(lambda: watch.value("bitcoin_blocks_connected_total") == 3)
            again.connect(chain.mine(1)[0])
            await until(lambda: watch.value("bitcoin_blocks_connected_total") == 4)

            assert watch.value("chainwatch_stream_gaps_total", stream="zmq") == 0
            assert watch.reorgs() == {}


async def test_zmq_that_is_switched_on_later_is_found_when_the_node_returns(chain: FakeChain, node: Publisher) -> None:
    async with watching(chain, zmq=True) as watch:
        await watch.settled()
        assert watch.value("chainwatch_stream_connected", stream="zmq") is None
        chain.error = errors.WarmingUp("the node is starting")
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        publish(chain, node, "sequence")
        chain.error = None
        await subscribed(watch, node)


async def test_a_node_without_zmq_has_no_zmq_metrics(chain: FakeChain) -> None:
    async with watching(chain, zmq=True) as watch:
        await watch.settled()

        assert watch.value("chainwatch_stream_connected", stream="zmq") is None
        assert watch.value("chainwatch_stream_gaps_total", stream="zmq") is None
        assert watch.value("bitcoin_mempool_added_total") is None
        assert watch.value("bitcoin_mempool_removed_total") is None
        assert watch.value("bitcoin_mempool_replaced_total") is None
        assert watch.value("chainwatch_stream_gaps_total", stream="poll") == 0


async def test_zmq_that_is_switched_off_is_not_asked_for(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with watching(chain, zmq=False) as watch:
        await watch.settled()

        assert chain.asked["getzmqnotifications"] == 0
        assert watch.value("chainwatch_stream_connected", stream="zmq") is None


async def test_new_settings_are_taken_over_at_once(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        watch.tracker.configure(settings(poll=0.01, zmq=False))
        await until(lambda: watch.value("chainwatch_stream_connected", stream="zmq") is None)
        watch.tracker.configure(settings(poll=0.01, zmq=True))
        await subscribed(watch, node)


async def test_the_address_of_the_settings_wins_over_what_the_node_says(chain: FakeChain, node: Publisher) -> None:
    chain.zmq = [{"type": "pubsequence", "address": "tcp://192.0.2.1:1"}]
    async with watching(chain, zmq=True, zmq_url=node.address) as watch:
        await subscribed(watch, node)


async def test_the_address_of_the_settings_serves_where_the_node_does_not_tell(
    chain: FakeChain, node: Publisher
) -> None:
    chain.forbidden["getzmqnotifications"] = errors.Forbidden("403")
    async with watching(chain, zmq=True, zmq_url=node.address, poll=NEVER) as watch:
        await subscribed(watch, node)
        node.send("hashblock", bytes.fromhex(chain.mine(1)[0]))
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 1)


async def test_a_publisher_that_listens_everywhere_is_reached_at_the_nodes_host(
    chain: FakeChain, node: Publisher
) -> None:
    for host in ("0.0.0.0", "*", "[::]"):
        chain.zmq = [{"type": "pubhashblock", "address": f"tcp://{host}:{node.port}"}]
        async with watching(chain, zmq=True) as watch:
            await subscribed(watch, node)


@pytest.mark.parametrize(
    ("published", "rpc", "seen"),
    [
        ("tcp://0.0.0.0:28332", "http://192.0.2.7:8332", "tcp://192.0.2.7:28332"),
        ("tcp://*:28332", "http://node.example:8332", "tcp://node.example:28332"),
        ("tcp://[::]:28332", "http://[2001:db8::1]:8332", "tcp://[2001:db8::1]:28332"),
        ("tcp://:28332", "http://192.0.2.7:8332", "tcp://192.0.2.7:28332"),
        ("tcp://127.0.0.1:28332", "http://192.0.2.7:8332", "tcp://127.0.0.1:28332"),
        ("ipc:///run/node.sock", "http://192.0.2.7:8332", "ipc:///run/node.sock"),
    ],
)
def test_a_publisher_is_looked_for_where_the_node_is(published: str, rpc: str, seen: str) -> None:
    assert reachable(published, BitcoinSettings(rpc=Rpc(url=rpc))) == seen


async def test_addresses_that_zmq_should_not_open_are_left_alone(chain: FakeChain) -> None:
    chain.zmq = [{"type": "pubsequence", "address": "pgm://192.0.2.1;239.192.1.1:3055"}]
    async with watching(chain, zmq=True) as watch:
        await watch.settled()

        assert watch.value("chainwatch_stream_connected", stream="zmq") is None


async def test_bitcoin_sv_is_asked_by_its_own_method(chain: FakeChain, node: Publisher) -> None:
    chain.zmq_method = "activezmqnotifications"
    chain.zmq = [
        {"notification": "pubhashblock", "address": node.address},
        {"notification": "pubdiscardedfrommempool", "address": node.address},
    ]
    async with following(chain, node) as watch:
        assert watch.value("bitcoin_mempool_removed_total") == 0
        assert watch.value("bitcoin_mempool_added_total") is None
        assert watch.value("bitcoin_mempool_replaced_total") is None
        node.send("discardedfrommempool", b'{"txid": "00", "reason": "mempool-sizelimit-exceeded"}')
        await until(lambda: watch.value("bitcoin_mempool_removed_total") == 1)


# The mempool


async def mempool_after(chain: FakeChain, node: Publisher, *events: str) -> dict[str, float | None]:
    """Counters after events such as A5, R6 and C (a block)."""
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        for event in events:
            if event == "C":
                node.connect(chain.mine(1)[0])
            else:
                node.mempool(event[0], int(event[1:]))
        wanted = sum(event[0] in "AR" for event in events)
        names = ("added", "removed", "replaced")

        def counted() -> dict[str, float | None]:
            return {name: watch.value(f"bitcoin_mempool_{name}_total") for name in names}

        await until(lambda: sum(counted()[name] or 0 for name in ("added", "removed")) == wanted)
        return counted()


@pytest.mark.parametrize(
    ("events", "added", "removed", "replaced"),
    [
        ([], 0, 0, 0),
        (["A1", "A2", "A3"], 3, 0, 0),
        (["A1", "R2", "A3"], 2, 1, 1),
        (["A1", "R2", "R3", "R4", "A5"], 2, 3, 3),
        (["A1", "R2"], 1, 1, 0),
        (["A1", "R2", "A4"], 2, 1, 0),  # number 3 went into a block
        (["R2", "R5", "A6"], 1, 2, 1),
        (["A1", "R2", "C", "A3"], 2, 1, 0),  # in conflict with the block
        (["R1", "A2", "A3"], 2, 1, 1),
    ],
)
async def test_mempool_changes_are_counted(
    chain: FakeChain, node: Publisher, events: list[str], added: int, removed: int, replaced: int
) -> None:
    assert await mempool_after(chain, node, *events) == {"added": added, "removed": removed, "replaced": replaced}


async def test_bodies_that_no_node_sends_are_ignored(chain: FakeChain, node: Publisher) -> None:
    publish(chain, node, "sequence")
    async with following(chain, node) as watch:
        for body in (b"", b"A", bytes(32), bytes(33), bytes(32) + b"X", bytes(32) + b"A", bytes(32) + b"C" + bytes(8)):
            node.send("sequence", body)
        node.mempool("A", 1)
        await until(lambda: watch.value("bitcoin_mempool_added_total") == 1)
        await asyncio.sleep(0)

        assert watch.value("bitcoin_blocks_connected_total") == 0
        assert watch.value("bitcoin_mempool_removed_total") == 0
