"""What the real promtail makes of lines with a shipped pipeline: time, labels, line. Nothing is sent."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from loki.files import HERE
from tests.lab.lokitools import LokiMissingError, promtail_program

SHIPPED = HERE / "promtail/promtail.yml"
SECONDS = 60

# promtail may end before it has printed the last lines: these follow, and are not given back.
_TAIL = b"the end"
_TAIL_LINES = 20

# promtail separates the columns by a tab, or by nothing where a column is a multiple of eight wide.
_OUTPUT = re.compile(
    rb"(\d{4}-\d\d-\d\dT[0-9:.]+[+-]\d{4})\t?(\{(?:\w+=\"(?:[^\"\\]|\\.)*\"(?:, )?)*\})\t?(.*)", re.DOTALL
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Entry(NamedTuple):
    """One line as promtail would send it."""

    time: str  # RFC 3339 with offset, up to nanoseconds
    labels: dict[str, str]
    line: bytes


def dry_run(job: str, lines: Sequence[bytes], folder: Path, *, zone: str = "UTC") -> list[Entry]:
    """Return what one job's pipeline makes of lines, in order; blank lines are not read.

    `zone` is that of promtail's machine. Skips the test where promtail is not built.
    """
    try:
        program = promtail_program()
    except LokiMissingError as missing:
        pytest.skip(str(missing))
    settings = yaml.safe_load(SHIPPED.read_text())
    [shipped] = [one for one in settings["scrape_configs"] if one["job_name"] == job]
    target = {"targets": ["localhost"], "labels": {"job": job}}
    configuration = {
        "positions": {"filename": str(folder / "positions.yml")},
        "clients": settings["clients"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [target], "pipeline_stages": shipped["pipeline_stages"]},
        ],
    }
    file = folder / "promtail.yml"
    file.write_text(yaml.safe_dump(configuration, sort_keys=False))
    command: list[str | Path] = [program, f"-config.file={file}", "-dry-run", "-stdin", "-server.disable"]
    done = subprocess.run(
        command,
        input=b"".join(line + b"\n" for line in [*lines, *[_TAIL] * _TAIL_LINES]),
        capture_output=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, "TZ": zone},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"level=error" not in done.stderr, done.stderr[-2000:]
    found = (_OUTPUT.fullmatch(line) for line in done.stdout.split(b"\n"))
    entries = [Entry(one[1].decode(), dict(_LABEL.findall(one[2].decode())), one[3]) for one in found if one]
    return entries[: [entry.line for entry in entries].index(_TAIL)]
