"""The shipped systemd unit: systemd itself must accept it, and find it well locked down."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "chainwatch@.service"
WORST_EXPOSURE = 15  # tenths: systemd 252 finds 1.4, and 9.6 for a service without any protection

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as an instance, its program replaced by one that exists here: `verify` looks for it."""
    program = tmp_path / "chainwatch"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "chainwatch@bitcoin.service"
    unit.write_text(UNIT.read_text().replace("/opt/chainwatch/bin/chainwatch", str(program)))
    return unit


@needs_systemd_analyze
def test_systemd_accepts_every_line_of_the_unit(installed: Path) -> None:
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(installed)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@needs_systemd_analyze
def test_the_unit_is_locked_down(installed: Path) -> None:
    result = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={WORST_EXPOSURE}",
            "--no-pager",
            str(installed),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr


def test_the_unit_says_what_the_program_relies_on() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["ExecReload"] == "kill -HUP $MAINPID"
    assert service["ExecStart"].split()[1:] == ["$FAMILY", "--config.file", "/etc/chainwatch/%i.yml"]
    assert service["Environment"] == "FAMILY=bitcoin"
    assert service["StateDirectory"] == "chainwatch/%i"
    assert int(service["TimeoutStopSec"]) == 5


def test_libzmq_may_set_the_scheduling_policy_of_its_threads() -> None:
    # Seen under systemd 252: refused, it aborts the process (src/thread.cpp) when the first ZMQ socket is made.
    filters = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("SystemCallFilter=")]
    assert "sched_setscheduler" in filters[filters.index("~@privileged @resources") + 1 :]
