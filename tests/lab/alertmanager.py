"""A real Alertmanager with our shipped routes, delivering to the lab's webhook."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.lab import web
from tests.lab.peers import program
from tests.lab.server import REPOSITORY, Server

SHIPPED_CONFIG = REPOSITORY / "alertmanager" / "alertmanager.yml"

# Alertmanager's documentation: only these stay silent about a resolution unless told.
_SILENT_BY_DEFAULT = {"email_configs", "slack_configs", "wechat_configs"}


class Alertmanager(Server):
    """Alertmanager on a rendered copy of a configuration.

    Each receiver that delivers anywhere delivers to `webhook` instead (a notice says to which receiver it went), and
    sends resolutions if it did. Routes, grouping, inhibition, mute times and templates are as shipped. `timing`
    overrides group_wait, group_interval and repeat_interval on every route.
    """

    def __init__(
        self, folder: Path, *, webhook: str, config: Path = SHIPPED_CONFIG, timing: Mapping[str, str] | None = None
    ) -> None:
        self.config_file = folder / "alertmanager.yml"
        arguments = [f"--config.file={self.config_file}", f"--storage.path={folder / 'data'}"]
        arguments += ["--cluster.listen-address="]  # otherwise it listens for a cluster on all addresses
        super().__init__("alertmanager", folder, program("prometheus-alertmanager"), arguments)
        self._webhook = webhook
        self._source = config
        self._timing = dict(timing or {})

    def write_configuration(self) -> None:
        """Render the copy."""
        settings = yaml.safe_load(self._source.read_text())
        settings["receivers"] = [self._to_webhook(receiver) for receiver in settings["receivers"]]
        settings["templates"] = [str(self._source.parent / pattern) for pattern in settings.get("templates", [])]
        settings["global"] = {
            key: value for key, value in settings.get("global", {}).items() if key == "resolve_timeout"
        }
        self._override_timing(settings["route"])
        self.config_file.write_text(yaml.safe_dump(settings, sort_keys=False))

    def _to_webhook(self, receiver: dict[str, Any]) -> dict[str, Any]:
        kinds = [key for key in receiver if key.endswith("_configs")]
        if not kinds:
            return receiver
        resolved = any(
            one.get("send_resolved", kind not in _SILENT_BY_DEFAULT) for kind in kinds for one in receiver[kind]
        )
        return {"name": receiver["name"], "webhook_configs": [{"url": self._webhook, "send_resolved": resolved}]}

    def _override_timing(self, route: dict[str, Any]) -> None:
        route.update(self._timing)
        for child in route.get("routes", []):
            self._override_timing(child)

    def post(
        self, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None, *, ends_in: float = 300
    ) -> None:
        """Raise an alert as a Prometheus would; it resolves after `ends_in` seconds, at once when that is negative."""
        now = datetime.datetime.now(datetime.UTC)
        end = now + datetime.timedelta(seconds=ends_in)
        alert = {
            "labels": dict(labels),
            "annotations": dict(annotations or {}),
            "startsAt": min(now, end).isoformat(),
            "endsAt": end.isoformat(),
        }
        web.post(f"{self.url}/api/v2/alerts", [alert])

    def alerts(self) -> list[dict[str, Any]]:
        """Active alerts with status.state (active, suppressed), status.inhibitedBy and receivers."""
        return list(web.get_json(f"{self.url}/api/v2/alerts"))
