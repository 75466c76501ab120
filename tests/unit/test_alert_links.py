"""From an alert's text to its board: one address in the templates, none as shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.rules import Rule, alerts, log_alerts
from tests.unit.dashboards.labels import Reading
from tests.unit.dashboards.reading import boards
from tests.unit.test_alertmanager import DATA, FOLDER, amtool

TEMPLATE = FOLDER / "templates" / "chainwatch.tmpl"
EMPTY = '{{- $grafana := "" -}}'
GRAFANA = "https://grafana.example.org"
FORMS = [("chainwatch.text", "text"), ("chainwatch.slack.text", "text")]
FORMS += [("chainwatch.telegram.html", "html"), ("chainwatch.mail.html", "html")]

# Chainwatch* alerts that the board Exporter health explains; all others of that name are on the fleet's board.
OF_EXPORTERS = {
    "ChainwatchCollectorFailing",
    "ChainwatchStreamDown",
    "ChainwatchStreamSilent",
    "ChainwatchExporterRestarting",
    "ChainwatchConfigReloadFailed",
    "ChainwatchTargetDown",
    "ChainwatchNoTargets",
    "ChainwatchRuleEvaluationFailing",
    "ChainwatchNotificationsFailing",
}


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """The template with Grafana's address written into its one place."""
    text = TEMPLATE.read_text()
    assert text.count(EMPTY) == 1
    copy = tmp_path / "chainwatch.tmpl"
    copy.write_text(text.replace(EMPTY, f'{{{{- $grafana := "{GRAFANA}/" -}}}}'))
    return copy


def rendered(template: str, kind: str, file: Path, folder: Path, **labels: str) -> str:
    firing: dict[str, Any] = {**DATA["alerts"][0], "labels": labels}  # type: ignore[index]
    data = folder / "data.json"
    data.write_text(json.dumps({**DATA, "alerts": [firing]}))
    done = amtool(
        "template", "render", f"--template.glob={file}", f"--template.type={kind}", f"--template.data={data}",
        f'--template.text={{{{ template "{template}" . }}}}',
    )  # fmt: skip
    assert done.returncode == 0, f"amtool template render {template}:\n{done.stdout}{done.stderr}"
    return done.stdout


def labels_of(alert: Rule) -> set[str]:
    """Labels that the alert has when it fires, as far as they can be read from its rule."""
    found = () if alert in log_alerts() else Reading(alert.expr).labels or ()
    return {*found, *alert.labels}


def board_of(alert: Rule) -> str:
    if alert in log_alerts():
        return "chainwatch-logs"
    if alert.name.startswith("Bitcoin"):
        return "chainwatch-bitcoin-node"
    if alert.name.startswith("Cometbft"):
        # The validators' board can show nothing of an alert that is about no validator.
        return "chainwatch-cometbft-validator" if "validator" in labels_of(alert) else "chainwatch-cometbft-chain"
    return "chainwatch-exporters" if alert.name in OF_EXPORTERS else "chainwatch-fleet"


@pytest.mark.parametrize(("template", "kind"), FORMS)
def test_as_shipped_no_text_speaks_of_a_board(template: str, kind: str, tmp_path: Path) -> None:
    text = rendered(template, kind, TEMPLATE, tmp_path, alertname="ChainwatchNodeDown", chain="bitcoin-main")
    assert "What to do" in text
    assert "Board" not in text


@pytest.mark.parametrize(
    ("template", "kind", "link"),
    [
        ("chainwatch.text", "text", "\nBoard: {url}\n"),
        ("chainwatch.slack.text", "text", "|What to do> <{escaped}|Board>\n"),
        ("chainwatch.telegram.html", "html", '>What to do</a> <a href="{escaped}">Board</a>\n'),
        ("chainwatch.mail.html", "html", '>What to do</a> <a href="{escaped}">Board</a></p>\n'),
    ],
)
def test_with_an_address_each_text_links_to_the_board_with_what_the_alert_is_about(
    template: str, kind: str, link: str, linked: Path, tmp_path: Path
) -> None:
    labels = {"chain": "chain 4", "instance": "127.0.0.1:11333", "validator": "A&B"}
    text = rendered(template, kind, linked, tmp_path, alertname="CometbftValidatorMissing", **labels)
    url = f"{GRAFANA}/d/chainwatch-cometbft-validator?"
    url += "var-chain=chain+4&var-instance=127.0.0.1%3A11333&var-validator=A%26B"
    wanted = link.format(url=url, escaped=url.replace("&", "&amp;"))
    assert wanted in text.replace("&#43;", "+")  # to a browser the same


def test_what_an_alert_lacks_is_not_in_its_link(linked: Path, tmp_path: Path) -> None:
    text = rendered("chainwatch.text", "text", linked, tmp_path, alertname="ChainwatchNoTargets")
    assert f"\nBoard: {GRAFANA}/d/chainwatch-exporters\n" in text
    text = rendered("chainwatch.text", "text", linked, tmp_path, alertname="ChainwatchReorg", chain="x")
    assert f"\nBoard: {GRAFANA}/d/chainwatch-fleet?var-chain=x\n" in text


@pytest.mark.parametrize(("template", "kind"), FORMS)
def test_a_label_cannot_break_out_of_the_link(template: str, kind: str, linked: Path, tmp_path: Path) -> None:
    hostile = '"><script>&var-chain=x|y> {{'
    text = rendered(template, kind, linked, tmp_path, alertname="ChainwatchReorg", chain="c", instance=hostile)
    assert "var-instance=%22%3E%3Cscript%3E%26var-chain%3Dx%7Cy%3E+%7B%7B" in text.replace("&#43;", "+")
    assert "<script" not in text


def test_every_alert_leads_to_the_board_that_explains_it(linked: Path, tmp_path: Path) -> None:
    rules = [*alerts(), *log_alerts()]
    names = [rule.name for rule in rules]
    assert len(names) > 60
    assert {*names} >= OF_EXPORTERS
    firing = [{**dict.fromkeys(labels_of(rule), "x"), "alertname": rule.name} for rule in rules]
    everything = {**DATA, "alerts": [{**DATA["alerts"][0], "labels": labels} for labels in firing]}  # type: ignore[index]
    (tmp_path / "data.json").write_text(json.dumps(everything))
    done = amtool(
        "template", "render", f"--template.glob={linked}", f"--template.data={tmp_path}/data.json",
        '--template.text={{ template "chainwatch.text" . }}',
    )  # fmt: skip
    found = re.findall(rf"^Board: {GRAFANA}/d/([\w-]+)(?:\?.*)?$", done.stdout, re.MULTILINE)
    assert dict(zip(names, found, strict=True)) == {rule.name: board_of(rule) for rule in rules}


@pytest.mark.parametrize(
    ("alert", "board", "panel"),
    [
        ("CometbftValidatorSetChurn", "chainwatch-cometbft-chain", "Changes of the validator set"),
        ("CometbftDoubleSignOther", "chainwatch-cometbft-chain", "Double signs and evidence"),
        ("CometbftDoubleSignOwn", "chainwatch-cometbft-validator", "Double signs"),
    ],
)
def test_the_board_has_the_panel_that_shows_why(alert: str, board: str, panel: str) -> None:
    assert next(board_of(rule) for rule in alerts() if rule.name == alert) == board
    assert panel in {one["title"] for found in boards() if found.uid == board for one in found.panels}
