"""From a node's log to a notice: litecoind, promtail and Loki with the shipped pipelines and rules, Alertmanager.

Everything that the stories tell is shipped to one Loki, whose ruler judges it, beside a node that lives.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conformance.paths import recording
from tests.lab import Alertmanager, Litecoind, Loki, LokiMissingError, P2PClient, Promtail, Webhook, wait_until
from tests.lab.loki import Entry
from tests.lab.wire import build_block
from tests.live.site import PATIENCE, TIMING, unix
from tests.log_stories import LogStory, log_stories
from tests.rules import RUNBOOKS, Rule, log_alerts, log_rules

LIVE, CHAIN = "alice", "litecoin-regtest"
SUBSIDY = 50 * 10**8
STORIES = log_stories()
# What the node quotes of a peer: the text of each alert that reads texts.
USER_AGENTS = (
    "Error: Disk space is too low!",
    "2030-01-01T00:00:00Z Fatal LevelDB error: Corruption: x",
    "\nError: A fatal internal error occurred, see debug.log for details",
    f"ERROR: ConnectTip: ConnectBlock {'ab' * 32} failed, bad-cb-amount",
)
# Recordings of real nodes, and which alerts they bring about as of their end.
RECORDINGS = {
    "happy_node0_plain.log": set(),
    "happy_full_json.log": set(),
    "restart_full_json.log": set(),
    "many_rounds_node0_plain.log": set(),
    "consensus_failure_full_json_excerpt.log": {"LogConsensusFailure", "LogDoubleSign"},
    "double_sign_node3_plain_excerpt.log": {"LogKeyFoundElsewhere", "LogDoubleSign", "LogErrors"},
}


class World:
    """A node that is sent a bad block and lies, Loki with all stories told, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = Litecoind(folder / "litecoind", options={"debug": ["net", "validation"], "logtimemicros": "1"})
        self.webhook = Webhook()
        self.alertmanager = Alertmanager(folder / "alertmanager", webhook=self.webhook.url, timing=TIMING)
        self.loki = Loki(folder / "loki", alertmanager=self.alertmanager.address, evaluation_interval="2s")
        targets = {"bitcoin": [target(LIVE, CHAIN, self.node.log_file)], "cometbft": []}
        for story in STORIES:
            file = folder / f"{story.instance}.log"
            file.write_text(story.log(datetime.now(UTC)))
            targets[story.job].append(target(story.instance, "told", file))
        self.promtail = Promtail(folder / "promtail", self.loki.url, targets=targets)
        self.bad_block = ""

    def happen(self) -> None:
        """Let the node have its trouble while promtail finds the logs, and wait until Loki has every line."""
        self.node.mine(5)
        for lie in USER_AGENTS:
            with P2PClient(self.node, user_agent=lie) as peer:
                peer.sync()
        greedy = build_block(self.node, coinbase_satoshis=SUBSIDY + 1)
        self.bad_block = greedy.hash
        with P2PClient(self.node) as peer:
            peer.send_block(greedy.raw)
            peer.wait_closed()  # it is thrown out for that
        self.loki.wait_lines(f'{{instance="{LIVE}", event="connect_failed"}}')
        wanted = {story.instance: story.count for story in STORIES}
        wait_until(
            lambda: self.told() == wanted,
            "Loki to have every line",
            timeout=PATIENCE,
            interval=0.5,
            describe=lambda: f"lacking or too many: {sorted(self.told().items() ^ wanted.items())}",
        )

    def told(self) -> dict[str, int]:
        """How many lines Loki has of each story."""
        counted = self.loki.query('sum by (instance) (count_over_time({chain="told"}[10m]))')
        return {labels["instance"]: int(value) for labels, value in counted}

    def settled(self) -> None:
        """Wait until Loki's ruler has twice judged all that it has."""
        for _ in range(2):
            began = time.time()
            wait_until(
                lambda began=began: all(unix(rule["lastEvaluation"]) > began for rule in self.loki.rules()),  # type: ignore[misc]
                "an evaluation of every rule",
                timeout=PATIENCE,
                interval=0.2,
                describe=self.loki.process.log_tail,
            )

    def firing(self, instance: str) -> set[str]:
        """Names of the alerts that fire for a node."""
        return {alert["labels"]["alertname"] for alert in self.loki.alerts() if alert["labels"]["instance"] == instance}

    def lines(self, selector: str) -> list[Entry]:
        """The living node's lines of a kind."""
        return self.loki.query_range(f'{{instance="{LIVE}", {selector}}}')


def target(instance: str, chain: str, log: Path) -> dict[str, str]:
    """A log as promtail is told of it."""
    return {"__path__": str(log), "chain": chain, "instance": instance}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything was written, shipped and judged."""
    try:
        it = World(tmp_path_factory.mktemp("world"))
    except LokiMissingError as missing:
        pytest.skip(str(missing))
    with contextlib.ExitStack() as stack:
        # Loki's ruler waits a minute after an Alertmanager that did not answer: that one comes first.
        for part in (it.webhook, it.alertmanager, it.node, it.loki, it.promtail):
            stack.enter_context(part)
        it.happen()
        it.settled()
        yield it


def test_every_shipped_rule_is_loaded_and_well(world: World) -> None:
    loaded = world.loki.rules()
    assert sorted(rule["name"] for rule in loaded) == sorted(rule.name for rule in log_rules())
    assert {rule["name"]: rule.get("lastError", "") for rule in loaded if rule["health"] != "ok"} == {}


def test_a_living_nodes_lines_are_found_by_their_labels_with_what_they_tell(world: World) -> None:
    [failed] = world.lines('event="connect_failed"')
    labels = {"job": "bitcoin", "chain": CHAIN, "instance": LIVE, "level": "error", "event": "connect_failed"}
    assert failed.labels == labels
    assert failed.metadata["hash"] == world.bad_block
    assert failed.metadata["reason"] == "bad-cb-amount"
    assert failed.line in world.node.log_file.read_text().splitlines()
    stamp = datetime.fromisoformat(failed.line.split(" ", 1)[0])
    assert failed.time // 1000 == round(stamp.timestamp() * 1e6)
    heights = [entry.metadata["height"] for entry in world.lines('event="update_tip"')]
    assert heights[-5:] == ["1", "2", "3", "4", "5"]
    [misbehaving] = world.lines('event="misbehaving"')
    assert misbehaving.metadata["peer"].isdigit()


def test_lines_of_a_living_node_that_quote_a_liar_bring_no_alert(world: World) -> None:
    quoted = [entry for entry in world.lines('job="bitcoin"') if "receive version message" in entry.line]
    assert len([entry for entry in quoted if "Error: Disk space is too low" in entry.line]) == 1
    assert {entry.labels.get("event") for entry in quoted} == {None}
    assert world.firing(LIVE) == {"LogInvalidBlock"}


def test_an_invalid_block_is_told_in_the_chat_with_its_runbook(world: World) -> None:
    notice = world.webhook.wait_for("LogInvalidBlock", instance=LIVE, chain=CHAIN)
    assert (notice.receiver, notice.labels["source"]) == ("chat", "logs")
    assert notice.annotations["description"].startswith(f"{LIVE} ({CHAIN}) could not connect a block, 1 times")
    assert notice.annotations["runbook_url"].endswith("/docs/runbooks/LogInvalidBlock.md")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_ruler_judges_as_told(world: World, story: LogStory) -> None:
    assert world.firing(story.instance) == story.fires


def test_no_line_pages_and_infos_are_told_to_nobody(world: World) -> None:
    quiet = {alert.name for alert in log_alerts() if alert.labels["severity"] == "info"}
    loud = {alert.name for alert in log_alerts()} - quiet
    for name in loud:
        world.webhook.wait_for(name)
    notices = list(world.webhook.notices)
    assert {notice.receiver for notice in notices} == {"chat"}
    assert {notice.alertname for notice in notices} == loud


@pytest.mark.parametrize("alert", log_alerts(), ids=lambda rule: rule.name)
def test_the_first_query_of_its_runbook_finds_what_it_fired_for(world: World, alert: Rule) -> None:
    page = (RUNBOOKS / f"{alert.name}.md").read_text()
    found = re.search(r"^logcli query [^']*'(.*)'$", page, re.MULTILINE)
    assert found, f"{alert.name}.md: no query to paste"
    nodes = {story.instance for story in STORIES if alert.name in story.fires}
    seen = {entry.labels["instance"] for entry in world.loki.query_range(found[1])}
    assert nodes <= seen, f"{alert.name}.md: its query shows nothing of {sorted(nodes - seen)}"


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_logs_are_judged_as_what_happened(world: World, name: str) -> None:
    file = recording(f"cometbft/logs/{name}")
    instance = name.removesuffix(".log")
    world.loki.ship(file, "cometbft", {"chain": "recorded", "instance": instance})
    selector = f'{{instance="{instance}"}}'
    [last] = world.loki.query_range(selector, 1795305600, time.time())[-1:]
    fires = {
        alert.name
        for alert in log_alerts()
        for labels, _ in world.loki.query(alert.expr, last.time / 1e9 + 1)
        if labels["instance"] == instance
    }
    assert fires == RECORDINGS[name]
