"""The Bitcoin story: a partition ends in a reorganisation, a node dies and comes back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tests.demo.stage import Narrator, Stage, stage
from tests.lab import Exporter, Litecoind, join, part, same_tip


@contextlib.contextmanager
def bitcoin(folder: Path, narrator: Narrator) -> Iterator[None]:
    """Start everything, tell the story, and leave it running for the caller."""
    narrator.say("starting two litecoind on regtest, an exporter beside each, Prometheus, Alertmanager, a webhook")
    with (
        Litecoind(folder / "node-a", "a") as a,
        Litecoind(folder / "node-b", "b") as b,
        Exporter(folder / "exporter-a", a) as watch_a,
        Exporter(folder / "exporter-b", b) as watch_b,
        stage(
            folder,
            {"bitcoin": [watch_a.address, watch_b.address]},
            narrator,
            logs={"bitcoin": [_log(a, watch_a), _log(b, watch_b)]},
        ) as on_stage,
    ):
        for name, url in (
            ("exporter of node a", watch_a.url + "/"),
            ("exporter of node b", watch_b.url + "/"),
            ("Prometheus", on_stage.prometheus.url + "/alerts"),
            ("Alertmanager", on_stage.alertmanager.url + "/"),
        ):
            narrator.say(f"open in a browser: {url}  ({name})")
        _blocks_arrive(on_stage, a, b, watch_a)
        _reorganisation(on_stage, a, b, watch_a)
        _node_dies(on_stage, b, watch_b)
        yield


def _log(node: Litecoind, watch: Exporter) -> dict[str, str]:
    """A node's log under the labels that the node has in Prometheus."""
    return {"chain": "litecoin-regtest", "instance": watch.address, "__path__": str(node.log_file)}


def _blocks_arrive(on_stage: Stage, a: Litecoind, b: Litecoind, watch_a: Exporter) -> None:
    a.connect(b)
    a.mine(20)
    same_tip(a, b)
    on_stage.prometheus.wait_for("count(chainwatch_tip_height == 20) == 2", timeout=60)
    on_stage.narrator.say("20 blocks mined by a reached b; Prometheus sees both nodes at height 20")
    if on_stage.loki:
        on_stage.loki.wait_for(
            'count(count by (instance) (count_over_time({event="update_tip"} | height="20" [5m]))) == 2'
        )
        on_stage.narrator.say('Loki has the line of each: {event="update_tip"} | height="20"')
    watch_a.wait_value("chainwatch_reorgs_total", 0, origin="network")


def _reorganisation(on_stage: Stage, a: Litecoind, b: Litecoind, watch_a: Exporter) -> None:
    narrator = on_stage.narrator
    part(a, b)
    narrator.say("the nodes are parted; a mines 2 blocks, b mines 3, each on its own")
    a.mine(2)
    b.mine(3)
    watch_a.wait_value("chainwatch_tip_height", 22)
    time.sleep(2 * 5)  # a partition lasts a while: Prometheus sees both sides
    narrator.say("they are joined again: a must give up its 2 blocks for b's 3")
    began = time.time()
    join(a, b)
    took = on_stage.expect("ChainwatchDeepReorg", "firing", since=began, instance=watch_a.address)
    narrator.say(f"the page for the reorganisation came {took:.1f} s after the block")


def _node_dies(on_stage: Stage, b: Litecoind, watch_b: Exporter) -> None:
    narrator = on_stage.narrator
    narrator.say("node b is killed")
    began = time.time()
    b.kill()
    took = on_stage.expect("ChainwatchNodeDown", "firing", since=began, instance=watch_b.address)
    narrator.say(f"the page for the dead node came {took:.1f} s after the kill")
    narrator.say("node b is started again")
    began = time.time()
    b.start()
    took = on_stage.expect("ChainwatchNodeDown", "resolved", since=began, instance=watch_b.address)
    narrator.say(f"the resolved notice came {took:.1f} s after the start")
