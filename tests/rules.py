"""The shipped rules and their stories, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PROMETHEUS = REPOSITORY / "prometheus"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
LOG_RULE_FILES = sorted((REPOSITORY / "loki" / "rules" / "fake").glob("*.yml"))
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
RUNBOOK_URL = "https://github.com/chainwatch/chainwatch/blob/main/docs/runbooks/{}.md"
STORY_FILES = sorted((PROMETHEUS / "tests").glob("*_test.yml"))

ALWAYS_THERE = frozenset({"chain", "instance", "job"})  # labels of every metric of ours after a scrape


@dataclass(frozen=True)
class Rule:
    """One rule: an alert, or a recording rule (then `name` is what it records)."""

    name: str
    is_alert: bool
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Story:
    """One promtool test. `asserts` are its assertions about alerts, as written in the file."""

    file: Path
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The sentence that it tells."""
        return str(self.body["name"])

    @property
    def asserts(self) -> list[dict[str, Any]]:
        """Its assertions about alerts."""
        return list(self.body.get("alert_rule_test", []))

    def fires(self, alert: str) -> bool:
        """Whether the alert is expected at some time of the story."""
        return any(one["exp_alerts"] for one in self.asserts if one["alertname"] == alert)

    def stays_silent(self, alert: str) -> bool:
        """Whether the story asks for the alert, and expects it at no time."""
        return any(one["alertname"] == alert for one in self.asserts) and not self.fires(alert)

    def series(self) -> list[str]:
        """Selectors of its input series."""
        return [str(one["series"]) for one in self.body["input_series"]]

    def about(self, alert: str) -> dict[str, Any]:
        """The story with its assertions about one alert only."""
        return {
            "name": self.name,
            "interval": self.body["interval"],
            "input_series": self.body["input_series"],
            "alert_rule_test": [one for one in self.asserts if one["alertname"] == alert],
        }


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule of every shipped file of Prometheus."""
    return tuple(_rules(yaml.safe_load(path.read_text()) for path in RULE_FILES))


def _rules(documents: Iterable[Any]) -> Iterator[Rule]:
    for document in documents:
        for group in document["groups"]:
            for one in group["rules"]:
                name = one.get("alert") or one["record"]
                yield Rule(name, "alert" in one, one["expr"], one.get("labels", {}), one.get("annotations", {}))


def alerts() -> list[Rule]:
    """Every alert of Prometheus."""
    return [rule for rule in rules() if rule.is_alert]


@cache
def log_rules() -> tuple[Rule, ...]:
    """Every rule of Loki's ruler; `expr` is LogQL."""
    return tuple(_rules(yaml.safe_load(path.read_text()) for path in LOG_RULE_FILES))


def log_alerts() -> list[Rule]:
    """Every alert of Loki's ruler."""
    return [rule for rule in log_rules() if rule.is_alert]


@cache
def stories() -> tuple[Story, ...]:
    """Every story of every file."""
    return tuple(Story(path, body) for path in STORY_FILES for body in story_file(path)["tests"])


def story_file(path: Path) -> dict[str, Any]:
    """A file of stories with every scalar as text: promtool's `0x60` is sixty-one zeros, YAML's is 96."""
    return dict(yaml.load(path.read_text(), yaml.BaseLoader))


@dataclass(frozen=True)
class Selector:
    """A metric that an expression reads: its name, and the labels that are matched with their values."""

    metric: str
    labels: Mapping[str, str]


def selectors(expr: str) -> list[Selector]:
    """Every metric that an expression reads. Raises ValueError when it does not parse."""
    return list(_selectors(promql_parser.parse(expr)))


def _selectors(node: Any) -> Iterator[Selector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield Selector(str(node.name), {one.name: one.value for one in node.matchers.matchers})
    for part in ("expr", "param", "lhs", "rhs", "vector_selector"):
        child = getattr(node, part, None)
        if child is not None:
            yield from _selectors(child)
    for argument in getattr(node, "args", []):
        yield from _selectors(argument)


def reads(expr: str) -> set[str]:
    """Every metric that an expression reads, directly or by way of a recording rule."""
    found: set[str] = set()
    todo = [expr]
    while todo:
        new = {one.metric for one in selectors(todo.pop())} - found
        found |= new
        todo += [rule.expr for rule in rules() if not rule.is_alert and rule.name in new]
    return found


def without_suffix(metric: str) -> str:
    """A histogram's own name for one of its series."""
    return re.sub(r"_(bucket|sum|count)$", "", metric)
