"""A real Prometheus with our shipped configuration and rules, pointed at the lab's targets."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.lab import web
from tests.lab.peers import program
from tests.lab.server import REPOSITORY, Server
from tests.lab.waiting import LabError, wait_until

SHIPPED_CONFIG = REPOSITORY / "prometheus" / "prometheus.yml"

Sample = tuple[dict[str, str], float]
Target = str | tuple[str, Mapping[str, str]]  # an address, or an address and labels of its own


class Prometheus(Server):
    """Prometheus on a rendered copy of a configuration.

    The copy differs in: intervals and scrape timeout; each job of `targets` gets these as static targets and the
    other jobs go, except a job that scrapes Prometheus or Alertmanager themselves, which is pointed at the lab's; the
    Alertmanager address; rule files by absolute path, or `rules` in their place. Everything else is as shipped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        targets: Mapping[str, Sequence[Target]],
        alertmanager: str | None = None,
        config: Path = SHIPPED_CONFIG,
        rules: Sequence[Path] | None = None,
        scrape_interval: str = "1s",
        evaluation_interval: str | None = None,
    ) -> None:
        """`targets` maps a job's name to its targets; `alertmanager` is HOST:PORT, None for none."""
        self.config_file = folder / "prometheus.yml"
        arguments = [f"--config.file={self.config_file}", f"--storage.tsdb.path={folder / 'data'}"]
        arguments += ["--web.enable-lifecycle", "--log.level=info"]
        super().__init__("prometheus", folder, program("prometheus"), arguments)
        self._targets = targets
        self._alertmanager = alertmanager
        self._source = config
        self._rules = rules
        self._scrape_interval = scrape_interval
        self._evaluation_interval = evaluation_interval or scrape_interval

    def write_configuration(self) -> None:
        """Render the copy."""
        settings = yaml.safe_load(self._source.read_text())
        intervals = {"scrape_interval": self._scrape_interval, "scrape_timeout": self._scrape_interval}
        settings["global"] = {
            **settings.get("global", {}),
            **intervals,
            "evaluation_interval": self._evaluation_interval,
        }
        settings["scrape_configs"] = self._jobs(settings.get("scrape_configs", []), intervals)
        settings["rule_files"] = self._rule_files(settings.get("rule_files", []))
        settings.setdefault("alerting", {})["alertmanagers"] = (
            [{"static_configs": [{"targets": [self._alertmanager]}]}] if self._alertmanager else []
        )
        self.config_file.write_text(yaml.safe_dump(settings, sort_keys=False))

    def _rule_files(self, shipped: Sequence[str]) -> list[str]:
        if self._rules is not None:
            return [str(path) for path in self._rules]
        return [str(self._source.parent / pattern) for pattern in shipped]

    def _jobs(self, shipped: Sequence[dict[str, Any]], intervals: Mapping[str, str]) -> list[dict[str, Any]]:
        own = {"prometheus": [self.address], "alertmanager": [self._alertmanager] if self._alertmanager else []}
        wanted = {**own, **self._targets}
        names = [job["job_name"] for job in shipped]
        unknown = sorted(set(self._targets) - set(names))
        if unknown:
            raise LabError(f"{self._source} has no job {', '.join(unknown)}; it has {', '.join(names) or 'none'}")
        jobs = []
        for job in shipped:
            if not wanted.get(job["job_name"]):
                continue
            kept = {key: value for key, value in job.items() if not key.endswith("_sd_configs")}
            overridden = {key: value for key, value in intervals.items() if key in job}
            jobs.append({**kept, **overridden, "static_configs": [_static(t) for t in wanted[job["job_name"]]]})
        return jobs

    def query(self, expression: str) -> list[Sample]:
        """Answer of an instant query: labels and value of each series. Raises OSError with Prometheus' own message."""
        url = f"{self.url}/api/v1/query?query={urllib.parse.quote(expression)}"
        return [(one["metric"], float(one["value"][1])) for one in web.get_json(url)["data"]["result"]]

    def wait_for(self, expression: str, timeout: float = 30) -> list[Sample]:
        """Wait until an instant query answers at least one series, and return the answer."""
        return wait_until(
            lambda: self.query(expression), f"Prometheus to answer {expression}", timeout=timeout, interval=0.1
        )

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing alerts: labels, annotations, state, activeAt."""
        return list(web.get_json(f"{self.url}/api/v1/alerts")["data"]["alerts"])

    def targets(self) -> list[dict[str, Any]]:
        """Active targets: labels, health, lastError, scrapeUrl."""
        return list(web.get_json(f"{self.url}/api/v1/targets")["data"]["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """All rules with their health and lastError."""
        groups = web.get_json(f"{self.url}/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def reload(self) -> None:
        """Write the configuration again and make Prometheus read it."""
        self.write_configuration()
        web.post(f"{self.url}/-/reload")


def _static(target: Target) -> dict[str, Any]:
    address, labels = (target, {}) if isinstance(target, str) else target
    return {"targets": [address], "labels": dict(labels)}
