"""The shipped Alertmanager configuration: it loads, routes, keeps quiet what has a cause, and its texts read well."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.alertmanager import SHIPPED_CONFIG, Alertmanager
from tests.lab.peers import program
from tests.lab.waiting import wait_until
from tests.lab.webhook import Webhook
from tests.rules import alerts, log_alerts

FOLDER = SHIPPED_CONFIG.parent
EXAMPLES = sorted((FOLDER / "examples").glob("*.yml"))

# Keys that older Alertmanagers lack, and what stands in for them while amtool 0.25 looks at the rest.
NEWER_THAN_DEBIAN_12 = {"bot_token_file": "bot_token"}


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("amtool"), *arguments], capture_output=True, text=True, check=False)


def configuration() -> dict[str, Any]:
    return dict(yaml.safe_load(SHIPPED_CONFIG.read_text()))


def labels_of(alert: str) -> dict[str, str]:
    """The labels that the rule adds: severity, and where it stands on logs alone, source."""
    rule = next(rule for rule in [*alerts(), *log_alerts()] if rule.name == alert)
    return {name: value for name, value in rule.labels.items() if name in ("severity", "source")}


def test_amtool_accepts_the_configuration_as_it_stands() -> None:
    done = amtool("check-config", SHIPPED_CONFIG)
    assert done.returncode == 0, f"amtool check-config:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_amtool_accepts_each_example_in_the_place_of_our_receiver(example: Path, tmp_path: Path) -> None:
    mine = {receiver["name"]: receiver for receiver in configuration()["receivers"]}
    theirs = {receiver["name"]: receiver for receiver in yaml.safe_load(example.read_text())["receivers"]}
    assert theirs.keys() <= {"pager", "chat"}, f"{example.name}: names must be pager or chat, are {sorted(theirs)}"
    merged = {
        **configuration(),
        "receivers": [*{**mine, **theirs}.values()],
        "templates": [f"{FOLDER}/templates/*.tmpl"],
    }
    text = yaml.safe_dump(merged)
    for newer, older in NEWER_THAN_DEBIAN_12.items():
        text = text.replace(f"{newer}:", f"{older}:")
    copy = tmp_path / "alertmanager.yml"
    copy.write_text(text)
    done = amtool("check-config", copy)
    assert done.returncode == 0, f"{example.name}: amtool check-config:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_secrets_of_an_example_come_from_files(example: Path) -> None:
    keys = re.findall(
        r"^[\s-]*(\w*(?:password|token|key|secret|api_url|credentials)\w*):", example.read_text(), re.MULTILINE
    )
    assert keys, f"{example.name}: no secret at all?"
    inline = [key for key in keys if not key.endswith("_file")]
    assert not inline, f"{example.name}: {', '.join(inline)} would hold the secret itself; use its _file key"


def test_warnings_can_be_muted_at_night_as_the_comment_says(tmp_path: Path) -> None:
    text = SHIPPED_CONFIG.read_text()
    muted = re.sub(r"^    # ((?:- matchers|  receiver|  mute_time).*)$", r"    \1", text, flags=re.MULTILINE)
    routes = yaml.safe_load(muted)["route"]["routes"]
    assert routes[-1]["mute_time_intervals"] == ["nights-and-weekends"], "the comment's route did not come out"
    copy = tmp_path / "alertmanager.yml"
    copy.write_text(muted)
    (tmp_path / "templates").symlink_to(FOLDER / "templates")
    done = amtool("check-config", copy)
    assert done.returncode == 0, f"amtool check-config with the comment's route:\n{done.stdout}{done.stderr}"


ROUTES = [
    ("ChainwatchNodeDown", "pager"),
    ("ChainwatchNodeStalled", "pager"),
    ("ChainwatchNodeNotStarting", "pager"),
    ("ChainwatchSyncStuck", "pager"),
    ("ChainwatchTargetDown", "pager"),
    ("ChainwatchDeepReorg", "pager"),
    ("ChainwatchChainTipStaleCritical", "pager"),
    ("BitcoinInvalidTip", "pager"),
    ("BitcoinMempoolEmpty", "pager"),
    ("CometbftChainHalted", "pager"),
    ("CometbftConsensusFailure", "pager"),
    ("CometbftDoubleSignOwn", "pager"),
    ("CometbftValidatorMissing", "pager"),
    ("CometbftValidatorSignerSilent", "pager"),
    ("CometbftValidatorJailNear", "pager"),
    ("ChainwatchChainTipStale", "chat"),
    ("BitcoinInvalidBlock", "chat"),
    ("BitcoinMempoolRejectConsensus", "chat"),
    ("CometbftPowerMissing", "chat"),
    ("CometbftValidatorMissingShare", "chat"),
    ("CometbftDoubleSignOther", "nobody"),
    ("CometbftValidatorLeftOut", "nobody"),
    ("ChainwatchReorg", "nobody"),
    ("BitcoinFeeSpike", "nobody"),
    ("ChainwatchWatchdog", "deadman"),
    ("LogConsensusFailure", "chat"),
    ("LogInvalidBlock", "chat"),
    ("LogDoubleSign", "nobody"),
    ("LogPeersMisbehaving", "nobody"),
]


@pytest.mark.parametrize(("alert", "receiver"), ROUTES)
def test_alert_reaches_its_receiver(alert: str, receiver: str) -> None:
    labels = {"alertname": alert, **labels_of(alert), "chain": "bitcoin-main", "job": "bitcoin"}
    assert routed(labels) == [receiver]


def routed(labels: Mapping[str, str]) -> list[str]:
    """The receivers of an alert."""
    given = [f"{name}={value}" for name, value in labels.items()]
    done = amtool("config", "routes", "test", f"--config.file={SHIPPED_CONFIG}", *given)
    assert done.returncode == 0, f"amtool config routes test {given}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip().split(",")


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "chat"), ("page", "chat"), ("warning", "chat"), ("info", "nobody")]
)
def test_an_alert_from_log_lines_pages_nobody_whatever_its_severity_says(severity: str, receiver: str) -> None:
    assert routed({"alertname": "LogOfMine", "severity": severity, "source": "logs"}) == [receiver]


def test_alert_of_somebody_else_without_severity_reaches_the_chat() -> None:
    assert routed({"alertname": "DiskFull"}) == ["chat"]


DATA = {
    "receiver": "pager",
    "status": "firing",
    "groupLabels": {"alertname": "ChainwatchNodeDown", "chain": "bitcoin-main", "job": "bitcoin"},
    "commonLabels": {"alertname": "ChainwatchNodeDown", "chain": "bitcoin-main", "severity": "critical"},
    "commonAnnotations": {},
    "externalURL": "http://127.0.0.1:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "ChainwatchNodeDown", "chain": "bitcoin-main", "instance": "alice"},
            "annotations": {
                "summary": "A node does not answer.",
                "description": "alice <b>&",
                "runbook_url": "https://example.org/ChainwatchNodeDown.md",
            },
            "startsAt": "2026-11-22T12:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
        },
        {
            "status": "resolved",
            "labels": {"alertname": "ChainwatchNodeDown", "chain": "bitcoin-main", "instance": "bob"},
            "annotations": {"summary": "A node does not answer.", "description": "bob", "runbook_url": ""},
            "startsAt": "2026-11-22T12:00:00Z",
            "endsAt": "2026-11-22T12:01:30.5Z",
        },
    ],
}

TEXTS = {
    ("chainwatch.title", "text"): "[FIRING 1] ChainwatchNodeDown bitcoin-main",
    ("chainwatch.text", "text"): (
        "A node does not answer.\n"
        "alice <b>&\n"
        "Since 2026-11-22 12:00:00 UTC.\n"
        "What to do: https://example.org/ChainwatchNodeDown.md\n"
        "RESOLVED after 1m30s: A node does not answer. bob"
    ),
    ("chainwatch.slack.color", "text"): "danger",
    ("chainwatch.slack.text", "text"): (
        "*A node does not answer.*\n"
        "alice &lt;b&gt;&amp;\n"
        "Since 2026-11-22 12:00:00 UTC. <https://example.org/ChainwatchNodeDown.md|What to do>\n"
        "Resolved: A node does not answer. bob"
    ),
    ("chainwatch.telegram.html", "html"): (
        "<b>[FIRING 1] ChainwatchNodeDown bitcoin-main</b>\n"
        "A node does not answer.\n"
        "alice &lt;b&gt;&amp;\n"
        'Since 2026-11-22 12:00:00 UTC. <a href="https://example.org/ChainwatchNodeDown.md">What to do</a>\n'
        "Resolved: A node does not answer. bob"
    ),
}


def render(template: str, kind: str, folder: Path) -> str:
    data = folder / "data.json"
    data.write_text(json.dumps(DATA))
    done = amtool(
        "template",
        "render",
        f"--template.glob={FOLDER}/templates/*.tmpl",
        f'--template.text={{{{ template "{template}" . }}}}',
        f"--template.type={kind}",
        f"--template.data={data}",
    )
    assert done.returncode == 0, f"amtool template render {template}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.mark.parametrize(("template", "kind"), TEXTS)
def test_text_reads_as_it_should_and_escapes_what_it_must(template: str, kind: str, tmp_path: Path) -> None:
    assert render(template, kind, tmp_path) == TEXTS[template, kind]


def test_mail_escapes_html_and_links_the_runbook(tmp_path: Path) -> None:
    page = render("chainwatch.mail.html", "html", tmp_path)
    assert "<p>alice &lt;b&gt;&amp;</p>" in page
    assert '<a href="https://example.org/ChainwatchNodeDown.md">What to do</a>' in page
    assert "Resolved: A node does not answer. bob" in page


def test_every_template_that_an_example_uses_is_defined() -> None:
    defined = set(re.findall(r'define "([\w.]+)"', "".join(p.read_text() for p in (FOLDER / "templates").iterdir())))
    used = set(re.findall(r'template "([\w.]+)"', "".join(p.read_text() for p in EXAMPLES)))
    assert used <= defined, f"examples use templates that do not exist: {sorted(used - defined)}"


def test_inhibition_names_alerts_that_exist_and_labels_that_their_sources_carry() -> None:
    names = {rule.name for rule in alerts()}
    for rule in configuration()["inhibit_rules"]:
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            label, value = re.fullmatch(r'(\w+) (?:=|=~|!=) "(.+)"', matcher).groups()  # type: ignore[union-attr]
            unknown = set(value.split("|")) - names if label == "alertname" else set()
            assert not unknown, f"inhibit_rules name alerts that do not exist: {sorted(unknown)}"
        assert rule["equal"] in (["job", "instance"], ["chain"], ["chain", "validator"]), (
            f"inhibition by {rule['equal']}: is it always there?"
        )


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as sink:
        yield sink


@pytest.fixture(scope="module")
def alertmanager(webhook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    timing = {"group_wait": "1s", "group_interval": "1s"}
    with Alertmanager(tmp_path_factory.mktemp("alertmanager"), webhook=webhook.url, timing=timing) as server:
        yield server


def raise_alert(server: Alertmanager, alert: str, **labels: str) -> None:
    server.post({"alertname": alert, **labels_of(alert), **labels})


def state_of(server: Alertmanager, alert: str, **labels: str) -> str:
    """Wait until Alertmanager has looked at an alert, and tell its state: active or suppressed."""

    def look() -> str | None:
        for one in server.alerts():
            if one["labels"]["alertname"] == alert and labels.items() <= one["labels"].items():
                return None if one["status"]["state"] == "unprocessed" else str(one["status"]["state"])
        return None

    return wait_until(look, f"Alertmanager to know of {alert} {labels}", timeout=10)


# source, target, on the same instance: is the target kept quiet?
INHIBITION = [
    ("ChainwatchNodeDown", "ChainwatchCollectorFailing", "suppressed"),
    ("ChainwatchTargetDown", "ChainwatchNodeDown", "suppressed"),
    ("ChainwatchTargetDown", "ChainwatchStreamDown", "suppressed"),
    ("ChainwatchNodeHanging", "BitcoinRpcQueueFull", "suppressed"),
    ("ChainwatchNodeHanging", "ChainwatchNodeStalled", "suppressed"),
    ("ChainwatchNodeStalled", "ChainwatchCollectorFailing", "suppressed"),
    ("ChainwatchNodeNotStarting", "ChainwatchNodeWarmingUp", "suppressed"),
    ("ChainwatchNodeIsolated", "ChainwatchPeersFew", "suppressed"),
    ("ChainwatchNodeIsolated", "ChainwatchSyncStuck", "suppressed"),
    ("ChainwatchNodeBehind", "ChainwatchNodeTipStale", "suppressed"),
    ("BitcoinInvalidTip", "BitcoinInvalidBlock", "suppressed"),
    ("ChainwatchNodeDown", "CometbftPeersCongested", "suppressed"),
    ("ChainwatchNodeDown", "LogErrors", "active"),
    ("ChainwatchNodeDown", "LogDatabaseCorrupted", "active"),
    ("ChainwatchTargetDown", "LogDiskFull", "active"),
    ("ChainwatchNodeIsolated", "CometbftNodeBehind", "suppressed"),
    ("CometbftNodeBehind", "ChainwatchNodeBehind", "suppressed"),
    ("CometbftConsensusFailure", "ChainwatchNodeBehind", "suppressed"),
    ("CometbftConsensusFailure", "ChainwatchNodeDown", "active"),
    ("ChainwatchNodeDown", "CometbftConsensusFailure", "active"),
    ("ChainwatchNodeDown", "ChainwatchDeepReorg", "active"),
    ("ChainwatchNodeDown", "ChainwatchTargetDown", "active"),
    ("ChainwatchNodeStalled", "ChainwatchDeepReorg", "active"),
    ("ChainwatchCollectorFailing", "ChainwatchStreamDown", "active"),
]


@pytest.mark.parametrize(("source", "target", "state"), INHIBITION)
def test_cause_keeps_its_consequences_quiet_on_its_own_instance_only(
    alertmanager: Alertmanager, source: str, target: str, state: str
) -> None:
    here, there = f"{source}-{target}-here", f"{source}-{target}-there"
    chain = f"{source}-{target}"
    raise_alert(alertmanager, source, chain=chain, job="bitcoin", instance=here)
    assert state_of(alertmanager, source, instance=here) == "active"
    for instance in (here, there):
        raise_alert(alertmanager, target, chain=chain, job="bitcoin", instance=instance)
    wait_until(
        lambda: state_of(alertmanager, target, instance=here) == state, f"{target} here to be {state}", timeout=10
    )
    assert state_of(alertmanager, target, instance=there) == "active"


# source, target, on the same chain and, where it has one, of the same validator: is the target kept quiet?
CHAIN_INHIBITION = [
    ("CometbftChainHalted", "CometbftValidatorMissing", "suppressed"),
    ("CometbftChainHalted", "CometbftPowerMissingCritical", "suppressed"),
    ("CometbftChainHalted", "ChainwatchChainTipStaleCritical", "suppressed"),
    ("CometbftConsensusFailure", "ChainwatchChainTipStale", "suppressed"),
    ("CometbftConsensusFailure", "ChainwatchChainTipStaleCritical", "active"),
    ("CometbftChainHalted", "CometbftDoubleSignOwn", "active"),
    ("CometbftChainHalted", "CometbftValidatorJailed", "active"),
    ("CometbftChainHalted", "CometbftConsensusFailure", "active"),
    ("CometbftPowerMissingCritical", "CometbftPowerMissing", "suppressed"),
    ("CometbftPowerMissingCritical", "CometbftValidatorMissing", "active"),
    ("CometbftUpgradeImminent", "CometbftUpgradeNear", "suppressed"),
]


@pytest.mark.parametrize(("source", "target", "state"), CHAIN_INHIBITION)
def test_what_befell_a_chain_keeps_its_consequences_quiet_on_that_chain_only(
    alertmanager: Alertmanager, source: str, target: str, state: str
) -> None:
    here, there = f"{source}-{target}-1", f"{source}-{target}-2"
    raise_alert(alertmanager, source, chain=here)
    assert state_of(alertmanager, source, chain=here) == "active"
    for chain in (here, there):
        raise_alert(alertmanager, target, chain=chain, validator="A" * 40, name="ours")
    wait_until(lambda: state_of(alertmanager, target, chain=here) == state, f"{target} here to be {state}", timeout=10)
    assert state_of(alertmanager, target, chain=there) == "active"


VALIDATOR_INHIBITION = [
    ("CometbftValidatorMissing", "CometbftValidatorSignerSilent", "suppressed"),
    ("CometbftValidatorMissing", "CometbftValidatorMissingShare", "suppressed"),
    ("CometbftValidatorMissing", "CometbftValidatorJailNear", "active"),
    ("CometbftValidatorMissing", "CometbftDoubleSignOwn", "active"),
    ("CometbftValidatorSignerSilent", "CometbftValidatorMissing", "active"),
    ("CometbftValidatorJailed", "CometbftValidatorNotInSet", "suppressed"),
    ("CometbftValidatorJailed", "CometbftValidatorMissing", "suppressed"),
    ("CometbftValidatorJailed", "CometbftDoubleSignOwn", "active"),
    ("CometbftValidatorPowerLost", "CometbftValidatorPowerChanged", "suppressed"),
]


@pytest.mark.parametrize(("source", "target", "state"), VALIDATOR_INHIBITION)
def test_one_page_tells_of_a_validator_and_others_of_other_validators(
    alertmanager: Alertmanager, source: str, target: str, state: str
) -> None:
    chain, ours, theirs = f"{source}-{target}", "A" * 40, "B" * 40
    raise_alert(alertmanager, source, chain=chain, validator=ours, name="ours")
    assert state_of(alertmanager, source, chain=chain) == "active"
    for validator in (ours, theirs):
        raise_alert(alertmanager, target, chain=chain, validator=validator, name="ours")
    wait_until(
        lambda: state_of(alertmanager, target, chain=chain, validator=ours) == state,
        f"{target} of this validator to be {state}",
        timeout=10,
    )
    assert state_of(alertmanager, target, chain=chain, validator=theirs) == "active"


def test_critical_stale_tip_silences_the_warning_of_its_own_chain_only(
    alertmanager: Alertmanager, webhook: Webhook
) -> None:
    raise_alert(alertmanager, "ChainwatchChainTipStaleCritical", chain="litecoin-main")
    assert state_of(alertmanager, "ChainwatchChainTipStaleCritical", chain="litecoin-main") == "active"
    for chain in ("litecoin-main", "bitcoin-main"):
        raise_alert(alertmanager, "ChainwatchChainTipStale", chain=chain)
    webhook.wait_for("ChainwatchChainTipStaleCritical", chain="litecoin-main", timeout=10)
    webhook.wait_for("ChainwatchChainTipStale", chain="bitcoin-main", timeout=10)
    assert state_of(alertmanager, "ChainwatchChainTipStale", chain="litecoin-main") == "suppressed"
    assert not webhook.received("ChainwatchChainTipStale", chain="litecoin-main")


def test_node_down_does_not_silence_alerts_that_name_no_instance(alertmanager: Alertmanager) -> None:
    raise_alert(alertmanager, "ChainwatchNodeDown", chain="tezos-mainnet", job="tezos", instance="dave")
    assert state_of(alertmanager, "ChainwatchNodeDown", instance="dave") == "active"
    raise_alert(alertmanager, "ChainwatchChainSplit", chain="tezos-mainnet")
    assert state_of(alertmanager, "ChainwatchChainSplit", chain="tezos-mainnet") == "active"


def test_page_tells_when_it_is_over(alertmanager: Alertmanager, webhook: Webhook) -> None:
    labels = {"chain": "bitcoin-main", "job": "bitcoin", "instance": "erin"}
    raise_alert(alertmanager, "ChainwatchNodeHanging", **labels)
    assert webhook.wait_for("ChainwatchNodeHanging", instance="erin", timeout=10).receiver == "pager"
    alertmanager.post({"alertname": "ChainwatchNodeHanging", "severity": "critical", **labels}, ends_in=-1)
    webhook.wait_for("ChainwatchNodeHanging", "resolved", instance="erin", timeout=10)
