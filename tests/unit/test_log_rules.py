"""Loki's rules: they parse, read labels that the pipelines give, and each alert has its stories and never pages."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import re2
import yaml

from chainwatch.families.bitcoin.log import patterns as bitcoin
from chainwatch.families.bitcoin.log import prefix
from chainwatch.families.cometbft import log_patterns as cometbft
from tests.lab.lokitools import lokitool_program
from tests.lab.waiting import PeerMissingError
from tests.log_stories import CORE, log_stories
from tests.rules import LOG_RULE_FILES, RUNBOOK_URL, Rule, alerts, log_alerts, log_rules

KNOWN = {
    "job": {"bitcoin", "cometbft"},
    "level": {"trace", "debug", "info", "warning", "error", "unknown"},
    "category": {*cometbft.Category, *(name.decode() for name in prefix.CATEGORIES)},
    "event": {message.name for message in (*bitcoin.MESSAGES, *cometbft.MESSAGES)},
}

each_log_alert = pytest.mark.parametrize("alert", log_alerts(), ids=lambda rule: rule.name)
each_log_rule = pytest.mark.parametrize("rule", log_rules(), ids=lambda rule: rule.name)


def matchers(expr: str) -> Iterator[tuple[str, list[str]]]:
    """Each label that an expression selects by, with the values that it names."""
    for selector in re.findall(r"\{([^}`]*)\}", re.sub(r"`[^`]*`", "", expr)):
        for name, value in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', selector):
            yield name, [one for one in value.split("|") if one]


def texts(expr: str) -> list[str]:
    """The expressions by which it filters lines."""
    return re.findall(r"\|~ `([^`]*)`", expr)


def lokitool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        program = lokitool_program()
    except PeerMissingError as error:
        pytest.skip(str(error))
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", LOG_RULE_FILES, ids=lambda path: path.name)
def test_lokitool_parses_every_expression(path: Path) -> None:
    for what in ("lint", "check"):
        done = lokitool("rules", what, *(["-n"] if what == "lint" else []), path)
        assert done.returncode == 0, f"lokitool rules {what} {path.name}:\n{done.stdout}{done.stderr}"


def test_lokitool_refuses_what_loki_would_refuse(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text('groups: [{name: a, rules: [{alert: A, expr: "sum(count_over_time({job=[5m]))"}]}]\n')
    assert lokitool("rules", "lint", "-n", broken).returncode != 0


@each_log_alert
def test_log_alert_informs_and_never_pages(alert: Rule) -> None:
    assert alert.name.startswith("Log")
    assert alert.labels.get("severity") in {"warning", "info"}, (
        f"{alert.name}: peers can write some lines, so severity must be warning or info, not {alert.labels}"
    )
    assert alert.labels.get("source") == "logs", f"{alert.name}: without source: logs Alertmanager may page for it"
    assert set(alert.labels) == {"severity", "source"}


@each_log_alert
def test_log_alert_says_of_whom_and_what_to_do(alert: Rule) -> None:
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == RUNBOOK_URL.format(alert.name)
    for label in ("$labels.instance", "$labels.chain"):
        assert label in alert.annotations["description"], f"{alert.name}: the description lacks {label}"


@each_log_rule
def test_log_rule_is_about_one_node_at_a_time(rule: Rule) -> None:
    by = re.findall(r"sum by \(([^)]*)\)", rule.expr)
    assert by, f"{rule.name}: sums by nothing"
    for labels in by:
        assert {"job", "chain", "instance"} <= set(labels.split(", ")), f"{rule.name}: sums by {labels}"


@each_log_rule
def test_log_rule_selects_by_labels_that_the_pipelines_give(rule: Rule) -> None:
    found = list(matchers(rule.expr))
    assert "job" in {name for name, _ in found}, f"{rule.name}: reads the logs of everybody"
    for name, values in found:
        assert name in KNOWN, f"{rule.name}: {name} is no index label"
        unknown = set(values) - KNOWN[name]
        assert not unknown, f"{rule.name}: no line has {name} {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("path", LOG_RULE_FILES, ids=lambda path: path.name)
def test_a_comment_says_who_can_write_the_lines(path: Path) -> None:
    for above in re.split(r"^      - alert: .*$", path.read_text(), flags=re.MULTILINE)[:-1]:
        comment = above.rsplit("\n\n", 1)[-1].rsplit("    rules:\n", 1)[-1]
        assert "# Who can write" in comment, f"{path.name}: an alert's comment does not say who can write such a line"


def test_no_name_is_given_twice() -> None:
    names = [rule.name for rule in log_alerts()]
    assert len(names) == len(set(names))
    assert not set(names) & {rule.name for rule in alerts()}


def test_every_group_has_a_name_of_its_own() -> None:
    names = [group["name"] for path in LOG_RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    assert len(names) == len(set(names))


@each_log_alert
def test_log_alert_has_a_story_in_which_it_fires_and_one_in_which_it_stays_silent(alert: Rule) -> None:
    told = [story for story in log_stories() if alert.name in story.name]
    assert any(alert.name in story.fires for story in told), f"{alert.name}: no story named after it fires it"
    assert any("silent" in story.name and not story.fires for story in told), f"{alert.name}: none is silent"


def long_texts() -> list[tuple[str, str]]:
    return [(rule.name, text) for rule in log_alerts() for text in texts(rule.expr) if len(text) > 200]


@pytest.mark.parametrize(("name", "text"), long_texts(), ids=[name for name, _ in long_texts()])
def test_texts_without_a_pattern_are_sought_right_after_the_nodes_prefix(name: str, text: str) -> None:
    stamp = "2026-11-22T03:23:44.138434Z "
    compiled = re2.compile(text)
    fitting = [
        line.replace(f"{CORE} ", "")
        for story in log_stories()
        if story.job == "bitcoin" and name in story.fires
        for line in story.lines
        if line.startswith(CORE) and compiled.search(line.replace(CORE, stamp.strip()))
    ]
    assert fitting, f"{name}: the expression fits no line of its stories"
    for message in fitting:
        for before in ("2026-11-22 03:23:44 [shutoff] ", f"[*] {stamp}[scheduler] [a/b.cpp:12] [F] "):
            assert compiled.search(before + message) or message.startswith("[")
        for forged in (message, f" {message}", f"{stamp}[w] {message}", f"{stamp}x {message}", f"{stamp}[{message}]"):
            assert not compiled.search(forged), f"{name}: {forged!r} would be taken for the node's own line"


def test_the_console_format_of_the_cosmos_sdk_is_read_from_its_beginning_only() -> None:
    beginning = cometbft.SDK_CONSOLE_ERROR.regex
    reading = [(rule.name, text) for rule in log_alerts() for text in texts(rule.expr) if "[AP]M" in text]
    assert {name for name, _ in reading} == {"LogConsensusFailure", "LogUpgradeNeeded"}
    assert all(text.startswith(beginning) for _, text in reading)
    assert re2.search(dict(reading)["LogUpgradeNeeded"], cometbft.SDK_CONSOLE_ERROR.quote)


def test_the_long_expressions_begin_with_the_same_prefix() -> None:
    beginnings = {text.split(r"(?:error|warning|info)\] )?")[0] for _, text in long_texts()}
    assert len(beginnings) == 1
