"""Each rule of lint.py and house_rules.py finds what it is there for: boards are spoiled, one way each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.model import Json
from tests.unit.dashboards.house_rules import RULES
from tests.unit.dashboards.reading import Board, boards

UID = "chainwatch-fleet"
SCOPE = '{chain=~"$chain",job=~"$job",instance=~"$instance"}'

Spoil = Callable[[Json], Any]


def graph(board: Json) -> Json:
    """The first graph of a board."""
    return next(panel for panel in board["panels"] if panel["type"] == "timeseries")


def variable(board: Json, name: str) -> Json:
    return next(one for one in board["templating"]["list"] if one["name"] == name)


def asking(expr: str, legend: str = "") -> Spoil:
    """Have the first graph ask this."""
    return lambda board: graph(board)["targets"][0].update(expr=expr, legendFormat=legend)


def linking(url: str) -> Spoil:
    return lambda board: graph(board).update(links=[{"title": "x", "url": url}])


def lines(expr: str) -> Spoil:
    """Have the first graph ask Loki."""
    return lambda board: graph(board)["targets"][0].update(
        expr=expr, datasource={"type": "loki", "uid": "${loki_datasource}"}
    )


SPOILED: list[tuple[str, Spoil]] = [
    ("template-datasource", lambda board: variable(board, "datasource").update(label="")),
    ("template-job", lambda board: variable(board, "job").update(multi=False)),
    ("template-instance", lambda board: board["templating"]["list"].remove(variable(board, "instance"))),
    ("template-chain", lambda board: variable(board, "chain").update(allValue=".+")),
    (
        "template-label-promql",
        lambda board: variable(board, "job").update(definition="label_values(chainwatch_up, jop)"),
    ),
    (
        "template-label-promql",
        lambda board: variable(board, "job").update(definition="label_values(chainwatch_op, job)"),
    ),
    ("template-on-time-change-reload", lambda board: variable(board, "job").update(refresh=1)),
    ("panel-datasource", lambda board: graph(board).update(datasource={"type": "prometheus", "uid": "prometheus"})),
    ("panel-title-description", lambda board: graph(board).update(description="")),
    ("panel-title-description", lambda board: graph(board).update(title="")),
    ("panel-units", lambda board: graph(board)["fieldConfig"]["defaults"].pop("unit")),
    ("panel-no-targets", lambda board: graph(board).update(targets=[])),
    ("target-promql", asking("sum(chainwatch_up")),
    ("target-logql", lines('sum(rate({job=~"$job"} [$__auto])')),
    ("target-logql", lines('sum(rate({job=~"$job" [$__auto]))')),
    ("target-logql", lines('summ(rate({job=~"$job"} [$__auto]))')),
    ("target-logql", lines("sum(rate({} [$__auto]))")),
    ("target-logql", lines("{job=~`$job`} |~ `(`")),
    ("target-logql-auto", lines('sum(rate({job="bitcoin"}[5m]))')),
    ("target-rate-interval", asking(f"rate(chainwatch_reorgs_total{SCOPE}[5m])")),
    ("target-rate-interval", asking(f"increase(chainwatch_reorgs_total{SCOPE}[$__interval])")),
    ("target-job", asking('chainwatch_up{chain=~"$chain",instance=~"$instance"}')),
    ("target-instance", asking('sum(chainwatch_up{chain=~"$chain",job=~"$job"}) or vector(0)')),
    ("target-chain", asking('chainwatch_up{job=~"$job",instance=~"$instance"}')),
    ("target-counter-agg", asking(f"sum(chainwatch_reorgs_total{SCOPE})")),
    ("uneditable-dashboard", lambda board: board.pop("editable")),
    ("labels-exist", asking(f"chainwatch_nothing{SCOPE}")),
    ("labels-exist", asking('node_memory_MemAvailible_bytes{job=~"$host_job",instance=~"$host"}')),
    ("labels-exist", asking("sum(increase(prometheus_rule_evaluation_failurez_total[$__rate_interval]))")),
    ("labels-exist", asking(f"process_resident_bytes{SCOPE}")),
    ("labels-exist", asking("sum(rate(alertmanager_notifications_total_failed[$__rate_interval]))")),
    ("labels-exist", asking('scrape_duration{job=~"$job",instance=~"$instance"}')),
    ("labels-exist", asking(f"sum by (direktion) (chainwatch_peers{SCOPE})")),
    ("labels-exist", asking(f"sum without (direktion) (chainwatch_peers{SCOPE})")),
    ("labels-exist", asking('chainwatch_peers{direktion="inbound"}')),
    ("labels-exist", asking(f"chainwatch_peers{SCOPE}", "{{stream}}")),
    ("labels-exist", asking(f"sum by (job) (chainwatch_peers{SCOPE})", "{{instance}}")),
    ("labels-exist", asking(f"sum by (chain) (chainwatch_up{SCOPE}) and on (job) chainwatch_up{SCOPE}")),
    ("labels-exist", asking(f"chainwatch_up{SCOPE} * on (job) group_left (version) chainwatch_up{SCOPE}")),
    (
        "labels-exist",
        asking(f"histogram_quantile(0.9, rate(chainwatch_rpc_duration_seconds_sum{SCOPE}[$__rate_interval]))"),
    ),
    (
        "columns-exist",
        lambda board: next(
            one["options"]["renameByName"]
            for panel in board["panels"]
            for one in panel.get("transformations", [])
            if "renameByName" in one["options"]
        ).update(chian="Chain"),
    ),
    ("thresholds-exist", asking('max(chainwatch:threshold{name="no_such",chain=~"$chain"})')),
    ("links-lead-somewhere", linking("/d/chainwatch-nowhere/x?${chain:queryparam}")),
    ("links-lead-somewhere", linking("/d/chainwatch-fleet/x?var-colour=red")),
    ("links-lead-somewhere", linking("/d/chainwatch-fleet/x?${validator:queryparam}")),
    ("lines-exist", linking("/d/chainwatch-logs/logs?var-event=update_tips")),
    ("lines-exist", linking("/d/chainwatch-logs/logs?var-category=weather")),
    ("lines-are-chosen", lines('{job=~"$job",instance=~"$instance"}')),
    ("fits-the-grid", lambda board: graph(board)["gridPos"].update(x=20)),
    ("fits-the-grid", lambda board: graph(board)["gridPos"].update(y=0, x=0)),
    ("panel-titles-differ", lambda board: board["panels"].append({**graph(board), "id": 999})),
]


@pytest.mark.parametrize(
    ("rule", "spoil"), SPOILED, ids=[f"{rule} {number}" for number, (rule, _) in enumerate(SPOILED)]
)
def test_a_spoiled_board_is_noticed(rule: str, spoil: Spoil) -> None:
    sound = next(board for board in boards() if board.uid == UID)
    json = copy.deepcopy(sound.json)
    spoil(json)
    new = {*RULES[rule](Board(sound.file, json))} - {*RULES[rule](sound)}
    assert new, f"{rule} has nothing to say"


def test_every_rule_is_put_to_the_test() -> None:
    assert {rule for rule, _ in SPOILED} == RULES.keys()
