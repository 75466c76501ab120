"""What befalls the stream of consensus events costs arrival times, and no height."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import BRISK, FAST, CometbftNet, Exporter
from tests.live.cometbft_site import Recorder, disagreements, halted, sums


def settle_and_judge(net: CometbftNet, exporter: Exporter) -> dict[str, int]:
    """Halt the chain, hold what was counted against /commit, and return how heights were settled."""
    with halted(net, *net.validators[2:]) as tip:
        counts = Recorder(exporter).at_rest(tip)
    net.wait_blocks(1)
    first = tip - counts.settled
    assert disagreements([counts], sums(net, range(first, tip)), first) == []
    assert counts.skipped == 0
    return dict(counts.how)


@pytest.fixture
def net(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CometbftNet]:
    """A net at the pace that the test asks for."""
    with CometbftNet(tmp_path / "net", settings=request.param) as it:
        it.wait_height(2)
        yield it


@pytest.mark.parametrize("net", [FAST], indirect=True)
def test_a_subscription_cancelled_for_slow_reading_is_made_anew_and_its_heights_are_filled(
    net: CometbftNet, tmp_path: Path
) -> None:
    with Exporter(tmp_path / "exporter", net.full) as exporter:
        Recorder(exporter).wait_counting()
        exporter.process.freeze()
        net.stuff(60)
        net.wait_blocks(60)
        exporter.process.thaw()
        net.wait_blocks(40)
        how = settle_and_judge(net, exporter)
        page = exporter.page()
    assert how["filled"] > 0
    assert sum(page.samples("cometbft_stream_cancellations_total", stream="consensus").values()) >= 1
    assert page.value("chainwatch_stream_gaps_total", stream="consensus") >= 1
    assert page.value("chainwatch_stream_connected", stream="consensus") == 1


@pytest.mark.parametrize("net", [BRISK], indirect=True)
def test_a_watched_node_that_restarts_loses_no_height_and_nobody_is_blamed(net: CometbftNet, tmp_path: Path) -> None:
    ours = net.validators[0].address
    with Exporter(tmp_path / "exporter", net.full, settings={"validators.own": ours}) as exporter:
        Recorder(exporter).wait_counting()
        net.full.stop()
        net.wait_blocks(10)
        net.full.start()
        net.full.wait_height(net.validators[0].height)
        net.full.kill()
        net.wait_blocks(10)
        net.full.start()
        net.full.wait_height(net.validators[0].height + 5)
        how = settle_and_judge(net, exporter)
        page = exporter.page()
    assert how["filled"] + how["partial"] >= 15
    assert page.value("cometbft_validator_missed_total", validator=ours, rule="sdk") == 0
    assert page.value("chainwatch_stream_connected", stream="consensus") == 1
