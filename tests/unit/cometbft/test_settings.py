"""Settings of a CometBFT node: what is made of them, and what an operator is told when one is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chainwatch.config import Secret, load, options
from chainwatch.families.cometbft.settings import (
    CometbftSettings,
    Rpc,
    Validators,
    Vantage,
    check,
    endpoints,
    own_validators,
    validator_names,
)
from tests.unit.cometbft.wrong_settings import WRONG
from tests.unit.wrong_settings import SECRET, Wrong, line_of

A, B = "63D55B36139650643B22251A44066B2215A15318", "1DA39A678B60D13FEF148D4B7CCA44182112716E"
VALCONS = "cosmosvalcons1v024kdsnjegxgwezy5dygpntyg26z5ccqjta80"


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_a_wrong_configuration_gives_one_line(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = line_of(wrong, "cometbft", tmp_path, monkeypatch)
    assert line == wrong.line
    assert "\n" not in line
    assert SECRET not in line


def test_every_setting_is_set_wrong_once() -> None:
    lines = [wrong.line for wrong in WRONG]
    forgotten = [
        each.key for each in options(CometbftSettings()) if not any(x.startswith(f"{each.key}: ") for x in lines)
    ]
    assert not forgotten, f"tests/unit/cometbft/wrong_settings.py has no case for {', '.join(forgotten)}"


def test_a_misspelt_variable_is_named_and_the_rest_is_right() -> None:
    given = {"CHAINWATCH_VALIDATOR_OWN": A, "CHAINWATCH_COLLECTOR_UPGRADES": "false"}
    command = [sys.executable, "-m", "chainwatch", "check-config", "cometbft"]
    told = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, timeout=30, check=True)
    assert "CHAINWATCH_VALIDATOR_OWN sets nothing; meant CHAINWATCH_VALIDATORS_OWN?" in told.stderr
    assert "CHAINWATCH_COLLECTOR_UPGRADES sets nothing; meant CHAINWATCH_COLLECTOR_UPGRADE?" in told.stderr
    assert told.stdout == "The settings are right.\n"


def test_a_validator_may_be_named_as_the_sdk_writes_its_consensus_address() -> None:
    assert own_validators(settings(**{"validators.own": f"{VALCONS}=mine"})) == {A: "mine"}


def settings(**flags: Any) -> CometbftSettings:
    return load(CometbftSettings, file=None, environ={}, flags=flags, switches=["status", "peers"])


def test_nothing_given_is_the_defaults_and_these_are_right() -> None:
    assert settings() == CometbftSettings()
    check(settings())
    assert settings().rpc.url == "http://127.0.0.1:26657"
    assert settings().web.listen_address == "127.0.0.1:11333"


def test_everything_that_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET)
    (tmp_path / "names").write_text(f"{B.lower()}: somebody else\n")
    given = {
        "rpc.url": "https://h/cosmoshub/rpc",
        "rpc.user": "a",
        "rpc.password_file": str(tmp_path / "password"),
        "vantage.urls": "https://a:1, http://b:2",
        "vantage.same_login": "true",
        "validators.own": A,
        "validators.file": str(tmp_path / "names"),
        "validators.only_own": "true",
        "state.dir": str(tmp_path),
    }
    check(settings(**given))


def test_every_setting_is_described_and_passwords_have_no_flag() -> None:
    by_key = {option.key: option for option in options(CometbftSettings())}
    assert all(option.description.endswith(".") for option in by_key.values())
    assert [key for key, option in by_key.items() if option.secret] == ["rpc.password"]
    assert "log.file" not in by_key


def test_own_validators_are_named_by_the_operator_then_by_the_file_then_by_their_address(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text(f"{A.lower()}: from the file\n{B}: B of the file\n")
    given = CometbftSettings(validators=Validators(own=f" {A.lower()} = my val , {B},", file=file))
    assert own_validators(given) == {A: "my val", B: "B of the file"}
    assert own_validators(CometbftSettings(validators=Validators(own=B))) == {B: "1DA39A67"}
    assert own_validators(CometbftSettings()) == {}


def test_names_of_others_come_from_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text(f"{A}: ours\n{B}: theirs\n")
    given = CometbftSettings(validators=Validators(own=f"{A}=mine", file=file))
    assert validator_names(given) == {A: "mine", B: "theirs"}
    assert own_validators(given) == {A: "mine"}


def test_first_endpoint_is_the_watched_node_and_others_get_no_login() -> None:
    rpc = Rpc(url="http://own:1", user="a", password=Secret(SECRET), timeout=3)
    own, first, second = endpoints(CometbftSettings(rpc=rpc, vantage=Vantage(urls="http://b:1, http://c:1 ,")))
    assert own is rpc
    assert [first.url, second.url] == ["http://b:1", "http://c:1"]
    assert (first.user, first.password, first.timeout) == (None, None, 3)


def test_others_get_the_login_where_that_is_wanted() -> None:
    rpc = Rpc(user="a", password=Secret(SECRET))
    _, other = endpoints(CometbftSettings(rpc=rpc, vantage=Vantage(urls="http://b:1", same_login=True)))
    assert (other.user, other.password) == ("a", SECRET)
