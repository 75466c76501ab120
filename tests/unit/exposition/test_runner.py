"""What a scrape gets when collectors work, fail, hang or talk nonsense."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from chainwatch.errors import Forbidden, MethodNotFound, NodeTimeout, NodeUnreachable, Unsupported
from chainwatch.exposition import runner as module
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.runner import Runner

LONG = 5.0
SHORT = 0.05


class Answers(Collector[Any]):
    """A collector that does what a test tells it, and counts how often it was asked."""

    def __init__(self, act: Callable[[], Awaitable[Any]] | None = None, name: str = "test_value") -> None:
        super().__init__(None)
        self.act, self.name = act, name
        self.asked = self.cancelled = 0

    async def collect(self) -> Iterable[Metric]:
        self.asked += 1
        try:
            if self.act is not None:
                result = await self.act()
                if result is not None:
                    return result  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [GaugeMetricFamily(self.name, "Help.", value=self.asked)]


def raises(error: BaseException) -> Callable[[], Awaitable[Any]]:
    async def act() -> None:
        raise error

    return act


async def hangs() -> None:
    await asyncio.sleep(3600)


def values(families: Iterable[Metric]) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def runner(sources: Iterable[Any] = (), **collectors: Collector[Any]) -> Runner:
    return Runner(collectors, list(sources))


async def test_what_works_is_on_the_page_with_how_it_went() -> None:
    page = values(await runner(good=Answers()).collect(LONG))
    assert 0 <= page.pop("chainwatch_collector_duration_seconds{good}") < 1
    assert page == {
        "test_value": 1,
        "chainwatch_up": 1,
        "chainwatch_collector_success{good}": 1,
        "chainwatch_collector_supported{good}": 1,
    }


async def test_a_collector_that_fails_costs_its_own_metrics_only() -> None:
    page = values(await runner(bad=Answers(raises(KeyError("x")), "test_bad"), good=Answers()).collect(LONG))
    assert page["test_value"] == 1
    assert "test_bad" not in page
    assert (page["chainwatch_collector_success{bad}"], page["chainwatch_collector_success{good}"]) == (0, 1)
    assert page["chainwatch_collector_supported{bad}"] == 1
    assert page["chainwatch_up"] == 1


async def test_a_collector_that_hangs_costs_its_own_metrics_only_and_is_given_up() -> None:
    slow = Answers(hangs, "test_slow")
    started = time.monotonic()
    page = values(await runner(slow=slow, good=Answers()).collect(SHORT))
    assert time.monotonic() - started < 1
    assert page["test_value"] == 1
    assert "test_slow" not in page
    assert page["chainwatch_collector_success{slow}"] == 0
    assert page["chainwatch_collector_duration_seconds{slow}"] >= SHORT * 0.9
    await asyncio.sleep(0)
    assert slow.cancelled == 1


async def test_what_the_node_lacks_is_unsupported_and_neither_failed_nor_successful() -> None:
    page = values(await runner(old=Answers(raises(Unsupported("too old"))), good=Answers()).collect(LONG))
    assert page["chainwatch_collector_supported{old}"] == 0
    assert "chainwatch_collector_success{old}" not in page
    assert page["chainwatch_collector_success{good}"] == 1


@pytest.mark.parametrize(
    ("error", "up"),
    [
        (NodeUnreachable("refused"), 0),
        (NodeTimeout("late"), 0),
        (Forbidden("403"), 0),
        (ValueError("ours"), 0),
        (Unsupported("known from before"), 0),
        (MethodNotFound("the node said so"), 1),
    ],
)
async def test_a_node_is_up_when_it_answered_anything(error: Exception, up: int) -> None:
    assert values(await runner(only=Answers(raises(error))).collect(LONG))["chainwatch_up"] == up


async def test_with_every_collector_off_nobody_knows_whether_the_node_is_up() -> None:
    assert values(await runner().collect(LONG)) == {}


@pytest.mark.parametrize("garbage", [7, "text", [None], ["text"], [[]], {"a": 1}])
async def test_a_collector_that_returns_no_metrics_has_failed(garbage: object) -> None:
    async def act() -> object:
        return garbage

    page = values(await runner(bad=Answers(act), good=Answers()).collect(LONG))
    assert page["chainwatch_collector_success{bad}"] == 0
    assert page["test_value"] == 1


async def test_a_collector_whose_future_was_cancelled_by_others_has_failed() -> None:
    page = values(await runner(bad=Answers(raises(asyncio.CancelledError()))).collect(LONG))
    assert page["chainwatch_collector_success{bad}"] == 0


async def test_two_collectors_may_share_a_metric_name() -> None:
    def labelled(value: str) -> Callable[[], Awaitable[Any]]:
        async def act() -> list[Metric]:
            family = GaugeMetricFamily("test_shared", "Help.", labels=["place"])
            family.add_metric([value], 1)
            return [family]

        return act

    families = await runner(a=Answers(labelled("a")), b=Answers(labelled("b"))).collect(LONG)
    assert len([family for family in families if family.name == "test_shared"]) == 1
    assert {"test_shared{a}", "test_shared{b}"} <= values(families).keys()


# simultaneous scrapes


async def test_scrapers_that_come_together_cost_one_collection() -> None:
    async def soon() -> None:
        await asyncio.sleep(SHORT)

    one = Answers(soon)
    shared = runner(one=one)
    pages = await asyncio.gather(*(shared.collect(LONG) for _ in range(5)))
    assert one.asked == 1
    assert [values(page)["test_value"] for page in pages] == [1] * 5


async def test_nobody_is_given_an_answer_from_before_he_asked() -> None:
    """One collector hangs for the first scraper; the second must get fresh values of the others all the same."""
    quick, slow = Answers(), Answers(hangs, "test_slow")
    shared = runner(quick=quick, slow=slow)
    first = asyncio.create_task(shared.collect(0.3))
    await asyncio.sleep(0.1)
    second = values(await shared.collect(SHORT))
    assert second["test_value"] == 2
    assert slow.asked == 1
    assert values(await first)["test_value"] == 1


async def test_each_scraper_keeps_its_own_deadline() -> None:
    async def act() -> None:
        await asyncio.sleep(0.2)

    slow = Answers(act)
    shared = runner(slow=slow)
    impatient, patient = await asyncio.gather(shared.collect(SHORT), shared.collect(LONG))
    assert (values(impatient)["chainwatch_up"], values(patient)["chainwatch_up"]) == (0, 1)
    assert "test_value" not in values(impatient)
    assert (slow.asked, slow.cancelled) == (1, 0)


async def test_a_run_ends_when_its_last_scraper_has_left() -> None:
    slow = Answers(hangs)
    shared = runner(slow=slow)
    scrapes = [asyncio.create_task(shared.collect(LONG)) for _ in range(2)]
    await asyncio.sleep(SHORT)
    scrapes[0].cancel()
    await asyncio.sleep(SHORT)
    assert slow.cancelled == 0
    scrapes[1].cancel()
    await asyncio.gather(*scrapes, return_exceptions=True)
    await asyncio.sleep(0)
    assert slow.cancelled == 1


async def test_a_scraper_that_comes_as_the_last_one_leaves_gets_a_run_of_its_own() -> None:
    slow = Answers(hangs)
    shared = runner(slow=slow)
    await shared.collect(SHORT)
    slow.act = None
    page = values(await shared.collect(LONG))
    assert page["chainwatch_collector_success{slow}"] == 1


async def test_switched_collectors_run_from_the_next_scrape_on() -> None:
    old, new = Answers(name="test_old"), Answers(name="test_new")
    switching = runner(old=old)
    await switching.collect(LONG)
    switching.switch({"new": new})
    page = values(await switching.collect(LONG))
    assert "test_new" in page
    assert "test_old" not in page
    assert list(switching.last) == ["new"]


async def test_a_collector_that_is_switched_off_while_it_runs_is_forgotten() -> None:
    async def act() -> None:
        await asyncio.sleep(SHORT)

    switching = runner(old=Answers(act))
    scrape = asyncio.create_task(switching.collect(LONG))
    await asyncio.sleep(0)
    switching.switch({})
    assert "test_value" in values(await scrape)
    assert switching.last == {}


# sources


class Broken:
    def __init__(self) -> None:
        self.error: Exception | None = RuntimeError("broken")

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("test_half", "Help.", value=1)
        if self.error:
            raise self.error


async def test_a_source_that_fails_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    failing = runner([broken], good=Answers())
    for _ in range(3):
        page = values(await failing.collect(LONG))
        assert page["chainwatch_up"] == 1
        assert "test_half" not in page
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    broken.error = None
    assert values(await failing.collect(LONG))["test_half"] == 1
    broken.error = RuntimeError("again")
    await failing.collect(LONG)
    assert len(caplog.records) == 2


# the log


async def test_a_node_that_goes_away_is_one_line_and_not_one_for_each_collector(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = NodeUnreachable("getblockchaininfo at 127.0.0.1:8332: refused")
    watched = runner(mempool=Answers(raises(gone)), blockchain=Answers(raises(gone)), peers=Answers(raises(gone)))
    caplog.set_level(logging.DEBUG, module.__name__)
    await watched.collect(LONG)
    await watched.collect(LONG)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"3 collectors failed: {gone} (blockchain, mempool, peers)"


async def test_a_collector_is_logged_when_its_state_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, module.__name__)
    flaky = Answers()
    watched = runner(flaky=flaky)
    story: list[Exception | None] = [
        None, NodeUnreachable("refused"), NodeUnreachable("refused"), Forbidden("403"), KeyError("x"), None, None,
        Unsupported("too old"), Unsupported("too old"), None,
    ]  # fmt: skip
    for error in story:
        flaky.act = None if error is None else raises(error)
        await watched.collect(LONG)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "collector flaky failed: refused"),
        ("WARNING", "collector flaky failed: 403"),
        ("ERROR", "collector flaky failed"),
        ("INFO", "collectors work again: flaky"),
        ("DEBUG", "collector flaky is not supported here: too old"),
    ]


async def test_scrapers_with_different_patience_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def act() -> None:
        await asyncio.sleep(SHORT * 2)

    shared = runner(slow=Answers(act))
    for _ in range(3):
        await asyncio.gather(shared.collect(SHORT / 2), shared.collect(LONG))
    assert caplog.records == []
    assert shared.last["slow"].error is None


async def test_a_collector_that_hangs_at_every_scrape_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    slow = runner(slow=Answers(hangs))
    for _ in range(3):
        await slow.collect(SHORT)
    assert [record.getMessage() for record in caplog.records] == [
        "collector slow failed: no answer within the scrape's 0.05 s; the node hangs or is overloaded"
    ]
    assert isinstance(slow.last["slow"].error, NodeTimeout)


# soundness


async def test_collections_are_sound_while_the_node_is_down_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.0)
    node = runner(down=Answers(raises(NodeUnreachable("refused"))), hanging=Answers(hangs))
    await node.collect(SHORT)
    await asyncio.sleep(SHORT)
    assert node.sound


async def test_a_collector_that_goes_on_after_it_was_given_up_is_not_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 10 * SHORT)
    end = asyncio.Event()

    async def stubborn() -> None:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    node = runner(stubborn=Answers(stubborn))
    try:
        await node.collect(SHORT / 2)
        assert node.sound
        await asyncio.sleep(10 * SHORT)
        assert not node.sound
    finally:
        end.set()
    await asyncio.sleep(SHORT)
    assert node.sound


async def test_the_end_of_the_process_in_the_middle_of_a_scrape_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    ending = runner(slow=Answers(hangs))
    scrape = asyncio.create_task(ending.collect(LONG))
    await asyncio.sleep(SHORT)
    ending._running["slow"].task.cancel()
    await asyncio.sleep(0)
    scrape.cancel()
    await asyncio.gather(scrape, return_exceptions=True)
    gc.collect()
    assert caplog.records == []


# memory


async def test_a_thousand_collections_leave_nothing_behind() -> None:
    class Payload(Exception):
        pass

    async def fails_with_much() -> None:
        kept = bytearray(100_000)
        raise Payload(len(kept))

    node = runner([Broken()], good=Answers(), bad=Answers(fails_with_much), slow=Answers(hangs))

    async def collect(times: int) -> None:
        for _ in range(times):
            await asyncio.gather(node.collect(0.0005), node.collect(0.0005))
        await asyncio.sleep(0)
        gc.collect()

    logging.getLogger(module.__name__).disabled = True
    try:
        await collect(20)
        tasks, tracebacks = len(asyncio.all_tasks()), node.last["bad"].error
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        await collect(500)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        logging.getLogger(module.__name__).disabled = False
    assert len(asyncio.all_tasks()) == tasks
    assert tracebacks is not None
    assert tracebacks.__traceback__ is None
    assert after - before < 50_000
