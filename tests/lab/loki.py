"""A real Loki and a real promtail with our shipped configurations, where they are built (see lokitools)."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from tests.lab import web
from tests.lab.lokitools import LokiMissingError, loki_program, lokitool_program, promtail_program
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.prometheus import Sample
from tests.lab.server import REPOSITORY
from tests.lab.waiting import LabError, wait_until

__all__ = [
    "SHIPPED_LOKI",
    "SHIPPED_PROMTAIL",
    "SHIPPED_RULES",
    "Entry",
    "Loki",
    "LokiMissingError",
    "Promtail",
    "loki_program",
    "lokitool_program",
    "promtail_program",
]

SHIPPED_LOKI = REPOSITORY / "loki" / "loki.yml"
SHIPPED_PROMTAIL = REPOSITORY / "loki" / "promtail" / "promtail.yml"
SHIPPED_RULES = REPOSITORY / "loki" / "rules"
LOOPBACK = "127.0.0.1"

# Labels as they were sent apart from what was parsed or sent as structured metadata.
_APART = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
_SHIP_SECONDS = 60


class Entry(NamedTuple):
    """One line that Loki keeps."""

    time: int  # nanoseconds since 1970
    line: str
    labels: dict[str, str]
    metadata: dict[str, str]  # structured metadata


class Loki:
    """Loki in a folder of its own, on free loopback ports, on a rendered copy of a configuration.

    The copy differs in: addresses and ports; folders; how often rules are looked for and evaluated, also where a group
    says it; the Alertmanager; no wait before it is ready; old lines are taken and found at once, since fixtures are
    old. Limits, schema, rules and all else are as shipped. `with` starts and stops it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: Path = SHIPPED_LOKI,
        rules: Path = SHIPPED_RULES,
        alertmanager: str | None = None,
        evaluation_interval: str = "5s",
    ) -> None:
        """`rules` is a folder with one folder for each tenant (`fake` when there is one only).

        All rules take a tenth of a second on an idle core: evaluating them each second would keep one busy.
        """
        program = loki_program()
        self.folder = folder
        self.port, self._grpc_port = free_port(), free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.url = f"http://{self.address}"
        self.config_file = folder / "loki.yml"
        self._source = config
        self._rules = rules
        self._own_rules = folder / "rules"
        self._alertmanager = alertmanager
        self._evaluation_interval = evaluation_interval
        folder.mkdir(parents=True, exist_ok=True)
        self.process = Process("loki", [program, f"-config.file={self.config_file}"], log=folder / "output.log")

    def write_configuration(self) -> None:
        """Render the copy."""
        settings = yaml.safe_load(self._source.read_text())
        shipped = settings["common"]["path_prefix"]
        settings = _moved(settings, shipped.rstrip("/"), str(self.folder / "data"))
        _override(settings, self._differences())
        self.config_file.write_text(yaml.safe_dump(settings, sort_keys=False))
        for source in self._rules.glob("*/*.yml"):
            copy = self._own_rules / source.relative_to(self._rules)
            copy.parent.mkdir(parents=True, exist_ok=True)
            rules = yaml.safe_load(source.read_text())
            for group in rules["groups"]:
                group.pop("interval", None)
            copy.write_text(yaml.safe_dump(rules, sort_keys=False))

    def _differences(self) -> dict[str, Any]:
        ring = {"instance_addr": LOOPBACK, "kvstore": {"store": "inmemory"}}
        grpc = f"{LOOPBACK}:{self._grpc_port}"
        return {
            "server": {
                "http_listen_address": LOOPBACK,
                "http_listen_port": self.port,
                "grpc_listen_address": LOOPBACK,
                "grpc_listen_port": self._grpc_port,
            },
            "common": {"instance_addr": LOOPBACK, "ring": ring},
            "limits_config": {"reject_old_samples": False},
            "ingester": {
                # Otherwise lines of over 2 h 40 min ago are taken, and not found until they are on disk.
                "query_store_max_look_back_period": "-1ns",
                "lifecycler": {"min_ready_duration": "0s", "final_sleep": "0s"},
            },
            "ruler": {
                "storage": {"type": "local", "local": {"directory": str(self._own_rules)}},
                "rule_path": str(self.folder / "rules-temp"),
                "alertmanager_url": f"http://{self._alertmanager}" if self._alertmanager else "",
                "evaluation_interval": self._evaluation_interval,
                "poll_interval": "1s",
                "enable_api": True,
            },
            # Queriers that find the frontend by the scheduler's ring let Loki wait ten seconds before it is ready.
            "frontend_worker": {"frontend_address": grpc, "dns_lookup_duration": "250ms"},
        }

    def start(self) -> None:
        """Write the configuration, start Loki, wait until it is ready."""
        self.write_configuration()
        self.process.start()
        self.process.wait_ready(lambda: web.get(f"{self.url}/ready", timeout=2), ignoring=web.NOT_ANSWERING)

    def stop(self) -> None:
        """Stop it by SIGTERM."""
        self.process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def push(self, labels: Mapping[str, str], lines: Sequence[tuple[int, str, Mapping[str, str]]]) -> None:
        """Send lines of one stream: time in nanoseconds, line, structured metadata. Raises OSError by Loki's words."""
        values = [[str(moment), line, dict(metadata)] for moment, line, metadata in lines]
        web.post(f"{self.url}/loki/api/v1/push", {"streams": [{"stream": dict(labels), "values": values}]})

    def query(self, logql: str, at: float | None = None) -> list[Sample]:
        """Answer of an instant query for numbers, as of a Unix time (now): labels and value of each series."""
        parameters = {"query": logql, **({} if at is None else {"time": _nanoseconds(at)})}
        data = self._get("query", parameters)
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def query_range(
        self, logql: str, start: float | None = None, end: float | None = None, *, limit: int = 5000
    ) -> list[Entry]:
        """Lines between two Unix times (the last hour), oldest first. Raises OSError with Loki's words."""
        data = self.answer(logql, start, end, limit=limit)
        if data["resultType"] != "streams":
            raise LabError(f"Loki answers {logql} by {data['resultType']}, not by lines")
        entries = [
            Entry(int(moment), line, stream["stream"], more[0].get("structuredMetadata", {}) if more else {})
            for stream in data["result"]
            for moment, line, *more in stream["values"]
        ]
        return sorted(entries, key=lambda entry: entry.time)

    def answer(
        self, logql: str, start: float | None = None, end: float | None = None, **parameters: object
    ) -> dict[str, Any]:
        """Answer of a range query as Loki gives it: `resultType` (streams, matrix) and `result`."""
        end = time.time() if end is None else end
        start = end - 3600 if start is None else start
        span = {"start": _nanoseconds(start), "end": _nanoseconds(end), "direction": "forward"}
        return self._get("query_range", {"query": logql, **span, **parameters})

    def _get(self, what: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        url = f"{self.url}/loki/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        return dict(json.loads(web.get(url, timeout=30, headers=_APART))["data"])

    def wait_for(self, logql: str, timeout: float = 30) -> list[Sample]:
        """Wait until an instant query for numbers answers at least one series, and return the answer."""
        return wait_until(lambda: self.query(logql), f"Loki to answer {logql}", timeout=timeout, interval=0.1)

    def wait_lines(self, logql: str, timeout: float = 30, start: float | None = None) -> list[Entry]:
        """Wait until a query finds lines since a Unix time (an hour ago), and return them."""
        return wait_until(
            lambda: self.query_range(logql, start), f"Loki to find {logql}", timeout=timeout, interval=0.1
        )

    def rules(self) -> list[dict[str, Any]]:
        """All rules with their health and lastError."""
        groups = web.get_json(f"{self.url}/prometheus/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing alerts: labels, annotations, state, activeAt."""
        return list(web.get_json(f"{self.url}/prometheus/api/v1/alerts")["data"]["alerts"])

    def ship(self, file: Path, job: str, labels: Mapping[str, str], *, config: Path = SHIPPED_PROMTAIL) -> None:
        """Send a log that is no longer written through a job's pipeline, by a promtail that ends after it.

        `labels` are those of the target, such as chain and instance. Raises LabError with what promtail said.
        """
        copy = self.folder / f"promtail-ship-{time.monotonic_ns()}.yml"
        targets = {job: [dict(labels)]}
        copy.write_text(_promtail_configuration(config, self.url, targets, copy.with_suffix(".positions"), 0))
        command: list[str | Path] = [promtail_program(), f"-config.file={copy}", "-stdin", "-server.disable"]
        with file.open("rb") as lines:
            done = subprocess.run(
                command, stdin=lines, capture_output=True, text=True, check=False, timeout=_SHIP_SECONDS
            )
        if done.returncode or "level=error" in done.stderr:
            raise LabError(f"promtail could not ship {file} (status {done.returncode}): {done.stderr[-2000:]}")


class Promtail:
    """promtail that follows files, on a rendered copy of a configuration.

    The copy differs in: the port; where Loki is; where positions are kept; jobs read `targets` in the place of
    file_sd_configs, and jobs without targets go; lines are sent soon. Pipelines are as shipped.
    """

    def __init__(
        self,
        folder: Path,
        loki: str,
        *,
        targets: Mapping[str, Sequence[Mapping[str, str]]],
        config: Path = SHIPPED_PROMTAIL,
    ) -> None:
        """`loki` is its URL; `targets` maps a job's name to the labels of its targets, `__path__` among them."""
        program = promtail_program()
        self.folder = folder
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.config_file = folder / "promtail.yml"
        self._loki = loki
        self._targets = targets
        self._source = config
        folder.mkdir(parents=True, exist_ok=True)
        self.process = Process("promtail", [program, f"-config.file={self.config_file}"], log=folder / "output.log")

    def start(self) -> None:
        """Write the configuration, start promtail, wait until it answers; it reads its files about 5 s later."""
        positions = self.folder / "positions.yml"
        self.config_file.write_text(
            _promtail_configuration(self._source, self._loki, self._targets, positions, self.port)
        )
        self.process.start()
        self.process.wait_ready(lambda: web.get(f"{self.url}/metrics", timeout=2), ignoring=web.NOT_ANSWERING)

    def stop(self) -> None:
        """Stop it by SIGTERM, after it has sent what it has read."""
        self.process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _promtail_configuration(
    source: Path, loki: str, targets: Mapping[str, Sequence[Mapping[str, str]]], positions: Path, port: int
) -> str:
    settings = yaml.safe_load(source.read_text())
    names = [job["job_name"] for job in settings["scrape_configs"]]
    if unknown := sorted(set(targets) - set(names)):
        raise LabError(f"{source} has no job {', '.join(unknown)}; it has {', '.join(names)}")
    settings["scrape_configs"] = [
        _with_targets(job, targets[job["job_name"]]) for job in settings["scrape_configs"] if job["job_name"] in targets
    ]
    settings["clients"] = [
        {**client, "url": f"{loki}/loki/api/v1/push", "batchwait": "100ms"} for client in settings["clients"][:1]
    ]
    listen = {"http_listen_address": LOOPBACK, "http_listen_port": port}
    settings["server"] = {
        **settings.get("server", {}),
        **listen,
        "grpc_listen_address": LOOPBACK,
        "grpc_listen_port": 0,
    }
    settings["positions"] = {**settings.get("positions", {}), "filename": str(positions), "sync_period": "1s"}
    return str(yaml.safe_dump(settings, sort_keys=False))


def _with_targets(job: Mapping[str, Any], targets: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    kept = {key: value for key, value in job.items() if not key.endswith("_sd_configs") and key != "static_configs"}
    static = [{"targets": ["localhost"], "labels": {"job": job["job_name"], **dict(labels)}} for labels in targets]
    return {**kept, "static_configs": static}


def _moved(value: Any, old: str, new: str) -> Any:
    """The settings with paths below one folder moved below another."""
    if isinstance(value, dict):
        return {key: _moved(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_moved(one, old, new) for one in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    return value


def _override(settings: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set what `changes` says, keeping what stands beside it."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(settings.get(key), dict):
            _override(settings[key], value)
        else:
            settings[key] = value


def _nanoseconds(moment: float) -> int:
    return int(moment * 1e9)
