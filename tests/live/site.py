"""A whole site for the live tests: Prometheus with the shipped rules, Alertmanager with the shipped routes, a webhook.

The tests run the shipped files with nothing changed but time, as `hurried` and `TIMING` say: expressions, labels,
routes and inhibitions are those an operator gets. Thresholds are changed as an operator changes them, by a rule file
like prometheus/examples/local_thresholds.yml.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

import yaml

from tests.lab import Alertmanager, Exporter, LabError, Notice, Prometheus, Webhook, wait_until

SHIPPED_RULES = Path(__file__).resolve().parents[2] / "prometheus" / "rules"
SCRAPE_SECONDS = 2
EVALUATION_INTERVAL = "1s"
# A notice waits for no others, and is repeated soon; the watchdog lives by that.
TIMING = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "15s"}

# A wait keeps its place in the order of waits, on which inhibition stands; mere seconds stay as shipped.
WAITS = {"5s": "5s", "30s": "5s", "1m": "6s", "2m": "7s", "3m": "8s", "5m": "8s", "10m": "9s", "15m": "9s", "30m": "9s"}
# A minute as shipped: longer than the five seconds that the exporter takes to tell an operator's doing.
OUTLASTING = {"BitcoinInvalidTip": "12s"}
# A window keeps its place in the order of windows, and holds eight scrapes at least.
WINDOWS = {
    "30s": "16s",
    "2m": "16s",
    "5m": "16s",
    "10m": "20s",
    "15m": "20s",
    "30m": "20s",
    "1h": "30s",
    "12h": "30s",
    "1d": "60s",
}
# Machines that run these tests may be slow, and nothing is won by giving up early.
PATIENCE = 60.0

_NEVER = "0001-01-01T00:00:00Z"
_WINDOW = re.compile(r"\[(\w+)\]|offset (\w+)")


def hurried(folder: Path, shipped: Path = SHIPPED_RULES) -> list[Path]:
    """Render a copy of the shipped rule files that differs in time alone, and return its files.

    - `for` and `keep_firing_for` become those of `WAITS`, or what `OUTLASTING` says;
    - range windows and offsets become those of `WINDOWS`;
    - every group is evaluated at `EVALUATION_INTERVAL`.

    Numbers that are compared with an age in seconds, such as the ten minutes that a mempool has after a node's
    start, stay. Raises KeyError for a time that the two tables do not know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rendered = []
    for source in sorted(shipped.glob("*.yml")):
        rules = yaml.safe_load(source.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                _hurry(rule)
        rendered.append(folder / source.name)
        rendered[-1].write_text(yaml.safe_dump(rules, sort_keys=False))
    return rendered


def _hurry(rule: dict[str, Any]) -> None:
    for key in ("for", "keep_firing_for"):
        if key in rule:
            rule[key] = OUTLASTING.get(rule["alert"], WAITS[rule[key]])
    rule["expr"] = _WINDOW.sub(
        lambda found: f"[{WINDOWS[found[1]]}]" if found[1] else f"offset {WINDOWS[found[2]]}", str(rule["expr"])
    )


class Site:
    """Prometheus, Alertmanager and webhook around running exporters. `with` starts and stops them.

    Alerts need their time, but many can have it at once: a module brings all its nodes into trouble on one site, and
    its tests ask what was told about each. Exporters that need thresholds of their own have a chain of their own
    (the setting chain.name): `thresholds` are values by name, by chain.
    """

    def __init__(
        self,
        folder: Path,
        exporters: Sequence[Exporter],
        *,
        job: str = "bitcoin",
        thresholds: Mapping[str, Mapping[str, float | str]] | None = None,
        more_rules: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """`more_rules` are rules of the operator's own, beside the thresholds."""
        self.exporters = list(exporters)
        self.webhook = Webhook()
        self.alertmanager = Alertmanager(folder / "alertmanager", webhook=self.webhook.url, timing=TIMING)
        self.prometheus = Prometheus(
            folder / "prometheus",
            targets={job: [exporter.address for exporter in exporters]},
            alertmanager=self.alertmanager.address,
            rules=[*hurried(folder / "rules"), _local_rules(folder / "local.yml", thresholds or {}, more_rules)],
            scrape_interval=f"{SCRAPE_SECONDS}s",
            evaluation_interval=EVALUATION_INTERVAL,
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.webhook)
            stack.enter_context(self.alertmanager)
            stack.enter_context(self.prometheus)
            self.evaluated()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What reaches a person

    def page(self, alertname: str, instance: str | None = None, **labels: str) -> Notice:
        """Wait for the notice that an alert fires. Raises LabError with what Prometheus knows of the alert."""
        return self._wait(alertname, "firing", instance, labels)

    def resolved(self, alertname: str, instance: str | None = None, **labels: str) -> Notice:
        """Wait for the notice that an alert is over."""
        return self._wait(alertname, "resolved", instance, labels)

    def _wait(self, alertname: str, status: str, instance: str | None, labels: Mapping[str, str]) -> Notice:
        wanted = {**({"instance": instance} if instance else {}), **labels}
        try:
            return self.webhook.wait_for(alertname, status, PATIENCE, 0, **wanted)
        except LabError as error:
            raise LabError(f"{error}\nPrometheus has {self.alerts(alertname) or 'no such alert'}") from None

    def told(self, instance: str | None = None, severity: str | None = None, **labels: str) -> set[str]:
        """Names of the alerts that a person was told of as firing for an instance, or with these labels, so far."""
        given = {"instance": instance, "severity": severity, **labels}
        wanted = {name: value for name, value in given.items() if value}
        notices = list(self.webhook.notices)
        return {n.alertname for n in notices if n.status == "firing" and wanted.items() <= n.labels.items()}

    def pages(self, alertname: str, **labels: str) -> list[Notice]:
        """Every alert of this name that was told of as firing, each once, however often it was told; oldest first."""
        alerts: dict[tuple[object, ...], Notice] = {}
        for notice in self.webhook.received(alertname, "firing", 0, **labels):
            alerts.setdefault((notice.starts_at, *sorted(notice.labels.items())), notice)
        return list(alerts.values())

    # What Prometheus knows

    def alerts(self, alertname: str, **labels: str) -> list[dict[str, Any]]:
        """Alerts of this name that Prometheus holds now, also those that still wait for their `for`."""
        wanted = {"alertname": alertname, **labels}
        return [alert for alert in self.prometheus.alerts() if wanted.items() <= alert["labels"].items()]

    def firing(self, alertname: str, **labels: str) -> dict[str, Any]:
        """Wait until Prometheus says that an alert fires: for one that is inhibited, or told to nobody."""
        return wait_until(
            lambda: next((one for one in self.alerts(alertname, **labels) if one["state"] == "firing"), None),
            f"{alertname} {labels} to fire",
            timeout=PATIENCE,
            interval=0.2,
            describe=lambda: f"Prometheus has {self.alerts(alertname) or 'no such alert'}",
        )

    def evaluated(self) -> None:
        """Wait until every exporter has been scraped anew, and every rule evaluated after that."""
        self._wait_newer("a scrape of every exporter", self._last_scrapes)
        for _ in range(2):  # a rule may stand on what another group recorded
            self._wait_newer("an evaluation of every rule", self._last_evaluations)

    def _wait_newer(self, what: str, last: Callable[[], list[str]]) -> None:
        began = time.time()
        wait_until(
            lambda: min(map(unix, last()), default=0) > began, f"{what} by Prometheus", timeout=PATIENCE, interval=0.2
        )

    def _last_scrapes(self) -> list[str]:
        last = {target["labels"]["instance"]: target["lastScrape"] for target in self.prometheus.targets()}
        return [last.get(exporter.address, _NEVER) for exporter in self.exporters]

    def _last_evaluations(self) -> list[str]:
        return [rule["lastEvaluation"] for rule in self.prometheus.rules()]


def _local_rules(
    path: Path, thresholds: Mapping[str, Mapping[str, float | str]], more: Sequence[Mapping[str, object]]
) -> Path:
    rules = [
        {
            "record": "chainwatch:threshold:override",
            "labels": {"name": name, "chain": chain},
            "expr": f"vector({value})",
        }
        for chain, values in thresholds.items()
        for name, value in values.items()
    ]
    path.write_text(yaml.safe_dump({"groups": [{"name": "local", "rules": [*rules, *map(dict, more)]}]}))
    return path


def unix(text: str) -> float:
    """Unix time of an RFC 3339 time as Go writes it, with up to nine digits after the second."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


class Runnable(Protocol):
    """A node, a net of nodes, an exporter."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def stop(self) -> object:
        """Stop it, if it runs."""


@contextlib.contextmanager
def running(*programs: Runnable) -> Iterator[None]:
    """Start these all at the same time, and stop them at the end, those too that were started anew in between."""
    with contextlib.ExitStack() as stack:
        for program in programs:
            stack.callback(program.stop)
        with ThreadPoolExecutor(len(programs)) as pool:
            list(pool.map(lambda program: program.start(), programs))
        yield
