"""The shipped rules: they parse, read what exists, and each alert has its stories and its runbook."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import chainwatch
from chainwatch.exposition.metrics import catalogue
from tests.lab.peers import program
from tests.rules import (
    ALWAYS_THERE,
    PROMETHEUS,
    RULE_FILES,
    RUNBOOK_URL,
    RUNBOOKS,
    STORY_FILES,
    Rule,
    Selector,
    Story,
    alerts,
    log_alerts,
    reads,
    rules,
    selectors,
    stories,
    story_file,
    without_suffix,
)

HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]

# What others export, and what an operator may record.
EXTERNAL = {
    "up",
    "process_start_time_seconds",
    "prometheus_config_last_reload_successful",
    "prometheus_notifications_errors_total",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_sd_discovered_targets",
    "alertmanager_config_last_reload_successful",
    "alertmanager_notifications_failed_total",
    "chainwatch:threshold:override",
}

# Peers can make a node log some of the lines that these count.
FROM_THE_LOG = re.compile(
    r"bitcoin_(log_.+|mempool_(accepted|rejected)_total|invalid_blocks_total|misbehaving_total|block_download_timeouts_total"
    r"|block_stalling_total|header_to_tip_seconds|block_connect_phase_seconds|compact_block.*_total|stale_tip_warnings_total)"
)

ALWAYS_FIRES = {"ChainwatchWatchdog"}

each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda rule: rule.name)
each_story = pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)


@cache
def exported_labels() -> dict[str, set[str]]:
    """Label names of every metric that a module of the package defines."""
    for module in pkgutil.walk_packages(chainwatch.__path__, "chainwatch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {name: {*definition.labels, *ALWAYS_THERE, "le"} for name, definition in catalogue().items()}


def complaint_about(selector: Selector) -> str:
    """What is wrong with reading this metric by these labels, or nothing."""
    if selector.metric in EXTERNAL or any(selector.metric == rule.name for rule in rules() if not rule.is_alert):
        return ""
    labels = exported_labels()
    found = labels.get(selector.metric) or labels.get(without_suffix(selector.metric))
    if found is None:
        return f"nobody exports or records {selector.metric}"
    unknown = set(selector.labels) - found
    return f"{selector.metric} has no label {', '.join(sorted(unknown))}" if unknown else ""


def test_promtool_finds_no_fault_with_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert done.returncode == 0, f"promtool check rules:\n{done.stdout}{done.stderr}"


def test_promtool_accepts_the_configuration_with_its_targets_and_rules() -> None:
    done = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, f"promtool check config:\n{done.stdout}{done.stderr}"


def test_promtool_accepts_the_example_of_local_thresholds() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "examples" / "local_thresholds.yml")
    assert done.returncode == 0, f"promtool check rules:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("path", STORY_FILES, ids=lambda path: path.name)
def test_stories_go_as_told(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, f"promtool test rules {path.name}:\n{done.stdout}{done.stderr}"


@each_alert
def test_alert_says_how_bad_it_is_and_what_to_do(alert: Rule) -> None:
    assert alert.labels.get("severity") in {"critical", "warning", "info"}, (
        f"{alert.name}: severity must be critical (pages), warning or info, not {alert.labels.get('severity')!r}"
    )
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}, (
        f"{alert.name}: needs the annotations summary, description and runbook_url, has {sorted(alert.annotations)}"
    )
    wanted = RUNBOOK_URL.format(alert.name)
    assert alert.annotations["runbook_url"] == wanted, f"{alert.name}: runbook_url must be {wanted}"
    if alert.name not in ALWAYS_FIRES:
        assert "$labels" in alert.annotations["description"], (
            f"{alert.name}: the description does not say whom it is about"
        )


@each_alert
def test_alert_has_a_story_in_which_it_fires(alert: Rule) -> None:
    assert any(alert.name in story.name and "fires" in story.name for story in stories() if story.fires(alert.name)), (
        f"{alert.name}: no story in prometheus/tests named '{alert.name} fires ...' expects it"
    )


@each_alert
def test_alert_has_a_story_in_which_it_stays_silent(alert: Rule) -> None:
    if alert.name in ALWAYS_FIRES:
        return
    told = [s for s in stories() if s.stays_silent(alert.name) and alert.name in s.name and "silent" in s.name]
    assert told, f"{alert.name}: no story in prometheus/tests named '{alert.name} stays silent ...' asks for it"
    watched = reads(alert.expr)
    for story in told:
        given = {one.metric for series in story.series() for one in selectors(series)}
        assert given & watched, f"'{story.name}' has no series that {alert.name} reads: it would be silent anyway"


@each_alert
def test_a_story_notices_when_the_alert_is_removed(alert: Rule, tmp_path: Path) -> None:
    firing = [story for story in stories() if story.fires(alert.name)]
    removed = play(firing, alert.name, folder=tmp_path)
    assert removed.returncode == 1, f"{alert.name}: its firing stories pass with the alert removed"
    assert f"alertname: {alert.name}" in removed.stdout + removed.stderr, (
        f"{alert.name}: with the alert removed its stories fail for another reason:\n{removed.stdout}{removed.stderr}"
    )


def play(told: Sequence[Story], alert: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what stories say about one alert on copies of their rules without alerts; the others would only cost time."""
    files = []
    for number, (path, document) in enumerate(_by_file(told, alert)):
        place = folder / str(number)
        place.mkdir(parents=True)
        document["rule_files"] = [str(_copy(path.parent / name, place)) for name in document["rule_files"]]
        left = _groups(document["rule_files"])
        document["group_eval_order"] = [name for name in document["group_eval_order"] if name in left]
        files.append(place / path.name)
        files[-1].write_text(yaml.safe_dump(document, sort_keys=False))
    return promtool("test", "rules", *files)


def _by_file(told: Sequence[Story], alert: str) -> list[tuple[Path, dict[str, Any]]]:
    documents: dict[Path, dict[str, Any]] = {}
    for story in told:
        document = documents.setdefault(story.file, {**story_file(story.file), "tests": []})
        document["tests"].append(story.about(alert))
    return list(documents.items())


def _copy(source: Path, folder: Path) -> Path:
    document = yaml.safe_load(source.read_text())
    for group in document["groups"]:
        group["rules"] = [rule for rule in group["rules"] if "alert" not in rule]
    document["groups"] = [group for group in document["groups"] if group["rules"]]
    copy = folder / source.name
    copy.write_text(yaml.safe_dump(document, sort_keys=False))
    return copy


def _groups(files: Sequence[str]) -> set[str]:
    return {group["name"] for path in files for group in yaml.safe_load(Path(path).read_text())["groups"]}


@pytest.mark.parametrize("alert", [*alerts(), *log_alerts()], ids=lambda rule: rule.name)
def test_alert_has_a_runbook_of_one_page(alert: Rule) -> None:
    path = RUNBOOKS / f"{alert.name}.md"
    assert path.exists(), f"{alert.name}: docs/runbooks/{path.name} is missing"
    text = path.read_text()
    assert text.startswith(f"# {alert.name}\n"), f"{path.name}: the title must be the alert's name"
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == HEADINGS, f"{path.name}: the headings must be {HEADINGS}, are {headings}"
    diagnosis = text.split("## Diagnosis\n", 1)[1].lstrip("\n")
    assert diagnosis.startswith("```"), f"{path.name}: Diagnosis must start with a command to paste"
    assert len(text.splitlines()) <= 60, f"{path.name}: longer than a page"


def test_no_runbook_lacks_its_alert() -> None:
    orphans = {path.stem for path in RUNBOOKS.glob("*.md")} - {alert.name for alert in [*alerts(), *log_alerts()]}
    assert not orphans, f"docs/runbooks has pages for alerts that do not exist: {', '.join(sorted(orphans))}"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule.name}-{rule.labels.get('name', '')}")
def test_rule_reads_only_what_is_exported_or_recorded(rule: Rule) -> None:
    wrong = {complaint_about(one) for one in selectors(rule.expr)} - {""}
    assert not wrong, f"{rule.name}: {'; '.join(sorted(wrong))}"


@each_story
def test_story_is_told_with_series_that_exist(story: Story) -> None:
    wrong = {complaint_about(one) for series in story.series() for one in selectors(series)} - {""}
    assert not wrong, f"'{story.name}': {'; '.join(sorted(wrong))}"


def test_every_threshold_has_a_default_and_a_reader() -> None:
    defaults = {rule.labels["name"] for rule in rules() if rule.name == "chainwatch:threshold:default"}
    read = {
        one.labels["name"]
        for alert in alerts()
        for one in selectors(alert.expr)
        if one.metric == "chainwatch:threshold"
    }
    assert read == defaults, (
        f"thresholds that no rule sets: {sorted(read - defaults)}; that no alert reads: {sorted(defaults - read)}"
    )


def test_a_family_changes_only_thresholds_that_the_fleet_has() -> None:
    fleet = yaml.safe_load((PROMETHEUS / "rules" / "fleet.yml").read_text())
    defaults = {
        rule["labels"]["name"]
        for group in fleet["groups"]
        for rule in group["rules"]
        if "name" in rule.get("labels", {})
    }
    changed = {rule.labels["name"] for rule in rules() if rule.name == "chainwatch:threshold:family"}
    assert changed <= defaults, f"families change thresholds that fleet.yml does not set: {sorted(changed - defaults)}"


def test_the_example_of_local_thresholds_overrides_thresholds_that_exist() -> None:
    example = yaml.safe_load((PROMETHEUS / "examples" / "local_thresholds.yml").read_text())
    names = {rule["labels"]["name"] for group in example["groups"] for rule in group["rules"]}
    defaults = {rule.labels["name"] for rule in rules() if rule.name == "chainwatch:threshold:default"}
    assert names <= defaults, f"examples/local_thresholds.yml names unknown thresholds: {sorted(names - defaults)}"


@each_alert
def test_nothing_from_the_log_pages(alert: Rule) -> None:
    if alert.labels["severity"] == "critical":
        forgeable = sorted(name for name in reads(alert.expr) if FROM_THE_LOG.fullmatch(name))
        assert not forgeable, f"{alert.name} pages for what peers can write into a log: {', '.join(forgeable)}"
