"""What boards share: the choices at the top, the marks on the time axis, the numbers at which alerts begin."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

from dashboards.model import MARK_STEP, Annotation, Level, Variable

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
_CONSTANT = re.compile(r"\w+:chains(?::public)?(?:\{.*\})? (?P<by>[*/]) (?P<number>[\d.]+(?:e\d+)?)")


def choices(metric: str) -> tuple[Variable, ...]:
    """Chain, job and instance of those that export a metric, such as `chainwatch_node_info{family="bitcoin"}`.

    All of a family's board is all of the family, since All chains are those that the metric has.
    """
    bare = metric if metric.endswith("}") else metric + "{}"
    select = re.sub(r"(?<!\{)\}$", ",*}", bare).replace("{}", "{*}")
    return (
        Variable(name="chain", query=f"label_values({metric}, chain)", all_value=""),
        Variable(name="job", query=f"label_values({select}, job)"),
        Variable(name="instance", query=f"label_values({select}, instance)"),
    )


def to_node(board: str) -> tuple[str, str]:
    """Return a link from a row of a table, which has columns chain, job and instance, to a board of that node."""
    chosen = "&".join(f"var-{name}=${{__data.fields.{name}}}" for name in ("chain", "job", "instance"))
    return "Board of this node", f"/d/chainwatch-{board}?{chosen}&${{datasource:queryparam}}&${{__url_time_range}}"


def to_validator() -> tuple[str, str]:
    """Return a link from a row of a table, which has columns chain and validator, to the board of that validator."""
    chosen = "var-validator=${__data.fields.validator}&var-chain=${__data.fields.chain}"
    return (
        "Board of this validator",
        f"/d/chainwatch-cometbft-validator?{chosen}&${{datasource:queryparam}}&${{__url_time_range}}",
    )


# One mark where the trouble of an alert began: a band for as long as it fires would paint every graph red.
ALERTS = Annotation(
    "Alerts",
    'ALERTS_FOR_STATE{severity=~"critical|warning",chain=~"$chain|"} * 1000'
    ' and ignoring (alertstate) ALERTS{alertstate="firing"}',
    "{{alertname}} {{instance}}",
    "red",
    at_value=True,
)
# A fixed window: two scrapes a minute apart fit in whatever the step is. What was there a step earlier has its mark.
_REORGANISED = 'increase(chainwatch_reorgs_total{origin="network",*}[150s]'
REORGS = Annotation(
    "Reorganisations",
    f"{_REORGANISED}) > 0 unless {_REORGANISED} offset {MARK_STEP}) > 0",
    "Reorganisation at {{instance}}",
    "purple",
)
NODE_STARTS = Annotation(
    "Node starts",
    "chainwatch_node_start_timestamp_seconds{*} * 1000",
    "{{instance}}: the node started",
    "blue",
    at_value=True,
)
EXPORTER_STARTS = Annotation(
    "Exporter starts",
    "(process_start_time_seconds{*} and on (job, instance) chainwatch_up{*}) * 1000",
    "{{instance}}: the exporter started",
    "light-blue",
    at_value=True,
)
MARKS = (ALERTS, REORGS, NODE_STARTS, EXPORTER_STARTS)


@cache
def _constants() -> dict[str, float]:
    """The shipped thresholds that are the same number for every chain."""
    found = {}
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                constant = _CONSTANT.fullmatch(str(rule["expr"]).strip())
                if rule.get("record") == "chainwatch:threshold:default" and constant:
                    number = float(constant["number"])
                    found[rule["labels"]["name"]] = number if constant["by"] == "*" else 1 / number
    return found


def alert_at(name: str) -> float:
    """Return a shipped threshold. Raises KeyError for one that is unknown or differs between chains."""
    return _constants()[name]


def bad_above(name: str) -> tuple[Level, ...]:
    """Green, and red from the number at which the alert begins."""
    return ((None, "green"), (alert_at(name), "red"))


def bad_below(name: str) -> tuple[Level, ...]:
    """Red below the number at which the alert begins, else green."""
    return ((None, "red"), (alert_at(name), "green"))
