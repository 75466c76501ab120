"""The command `chainwatch`, as a person types it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainwatch import __version__, cli
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.exposition.family import Action, Family


def chainwatch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHAINWATCH_")}
    return subprocess.run(
        [sys.executable, "-m", "chainwatch", *arguments],
        capture_output=True, text=True, timeout=60, env={**clean, **environment}, check=False,
    )  # fmt: skip


def help_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.run([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def bitcoin() -> Family[Any]:
    return next(family for family in cli.known_families() if family.name == "bitcoin")


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Bitcoin with an action `look`; what it was given."""
    given: list[Any] = []

    def look(settings: Any) -> int:
        given.append(settings)
        return 7

    family = dataclasses.replace(bitcoin(), actions=(Action("look", "Look 100 % closely.", look),))
    monkeypatch.setattr(cli, "known_families", lambda: [family])
    return given


@pytest.mark.parametrize("command", [["bitcoin"], ["check-config", "bitcoin"], ["doctor", "bitcoin"]])
def test_help_lists_every_setting_and_every_collector(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(*command, capsys=capsys)
    family = bitcoin()
    registrations = list(family.collectors)
    assert len(registrations) > 5
    for registration in registrations:
        assert f"--collector.{registration.flag}, --no-collector.{registration.flag}" in text
        assert registration.summary.endswith("."), registration.name
    for flag in ("--rpc.url", "--rpc.cookie-file", "--web.listen-address", "--web.config.file", "--config.file"):
        assert f"{flag} " in text
    assert "--rpc.password " not in text


def test_a_collector_has_a_flag_because_it_is_registered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = bitcoin()
    monkeypatch.setattr(family.collectors, "_registered", dict(family.collectors._registered))

    @family.collectors.register("moon_phase", default=False)
    class Moon:
        """How full the moon is."""

    text = " ".join(help_of("bitcoin", capsys=capsys).split())
    assert "--collector.moon-phase, --no-collector.moon-phase How full the moon is. Default: off." in text


def test_switches_and_flags_reach_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(cli, "_watch", lambda family, chosen: seen.append(cli._load(family, chosen)) or 0)
    cli.run(["bitcoin", "--no-collector.mempool", "--collector.utxo-set", "--rpc.timeout=3", "--config.file=/dev/null"])
    assert seen[0].collector == {"mempool": False, "utxo_set": True}
    assert seen[0].rpc.timeout == 3


@pytest.mark.parametrize("arguments", [["look", "--rpc.timeout=3"], ["--rpc.timeout", "3", "look"]])
def test_an_action_takes_the_place_of_watching(arguments: list[str], acting: list[Any]) -> None:
    assert cli.run(["bitcoin", *arguments]) == 7
    assert [settings.rpc.timeout for settings in acting] == [3]


def test_an_action_is_listed(acting: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert "look: Look 100 % closely." in " ".join(help_of("bitcoin", capsys=capsys).split())
    assert acting == []


def test_without_its_word_a_family_with_actions_watches(acting: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    async def serve(family: Family[Any], settings: Callable[[], Any]) -> None:
        served.append((family.name, settings().rpc.timeout))

    monkeypatch.setattr(cli, "_serve", serve)
    assert cli.run(["bitcoin", "--rpc.timeout=3"]) == 0
    assert (served, acting) == ([("bitcoin", 3.0)], [])


def test_an_action_with_a_wrong_setting_is_not_begun(acting: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"^rpc\.timeout: "):
        cli.run(["bitcoin", "look", "--rpc.timeout=soon"])
    assert acting == []


def test_a_word_that_is_no_action_is_one_line(acting: list[Any]) -> None:
    with pytest.raises(ChainwatchError, match=r"invalid choice: 'lock' .*look.*; see chainwatch bitcoin --help$"):
        cli.run(["bitcoin", "lock"])
    with pytest.raises(ConfigError, match="an argument that belongs to no flag"):
        cli.run(["check-config", "bitcoin", "look"])
    assert acting == []


def test_a_family_without_actions_takes_no_word() -> None:
    assert bitcoin().actions == ()
    with pytest.raises(ConfigError, match="an argument that belongs to no flag"):
        cli.run(["bitcoin", "top"])


def test_the_metrics_command_prints_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["metrics"]) == 0
    out = capsys.readouterr().out
    assert "| `chainwatch_up` | gauge |  | 1 when the node answered during this scrape. |" in out
    assert "| `bitcoin_headers` |" in out


def test_right_settings_are_called_right(tmp_path: Path) -> None:
    (tmp_path / "chainwatch.yml").write_text("rpc: {user: alice}\nweb: {listen_address: '127.0.0.1:0'}\n")
    done = chainwatch(
        "check-config", "bitcoin", "--config.file", str(tmp_path / "chainwatch.yml"), CHAINWATCH_RPC_PASSWORD="pw"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "The settings are right.\n", "")


def test_wrong_settings_are_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "chainwatch.yml").write_text('"a\\nb": 1\n')
    for command in (["check-config", "bitcoin"], ["bitcoin"]):
        done = chainwatch(*command, "--config.file", str(tmp_path / "chainwatch.yml"))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("chainwatch: a\\nb: unknown setting (in ")
        assert done.stderr.count("\n") == 1


def test_a_misspelt_environment_variable_is_warned_about_without_its_value() -> None:
    done = chainwatch("check-config", "bitcoin", CHAINWATCH_RPC_PASSWROD="hunter2")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "environment variable CHAINWATCH_RPC_PASSWROD sets nothing; meant CHAINWATCH_RPC_PASSWORD?" in done.stderr
    assert "hunter2" not in done.stderr


def test_the_version_is_told() -> None:
    done = chainwatch("--version")
    assert (done.returncode, done.stdout) == (0, f"chainwatch {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["moon"], ["check-config"], ["bitcoin", "--rpc.url"]])
def test_an_incomplete_command_points_to_help(arguments: list[str]) -> None:
    with pytest.raises(ChainwatchError, match=r"; see chainwatch.* --help$"):
        cli.run(arguments)


def test_a_reader_that_has_enough_is_no_error() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "chainwatch", "metrics"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.close()
    assert program.wait(60) == 1
    assert program.stderr is not None
    with program.stderr as stream:
        assert stream.read() == b""
