"""Settings from file, environment and flags, and what an operator is told when one is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from chainwatch.config import Secret, host_and_port, load, misspelt, options, read_secret
from chainwatch.errors import ConfigError
from chainwatch.families.bitcoin.settings import BitcoinSettings
from tests.unit.wrong_settings import SECRET, WRONG, Wrong, line_of


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_a_wrong_configuration_gives_one_line(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = line_of(wrong, "bitcoin", tmp_path, monkeypatch)
    assert line == wrong.line
    assert SECRET not in line


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)  # root may read everything
    with pytest.raises(ConfigError, match=r"config\.file: cannot read /x: Permission denied"):
        settings(file=Path("/x"))


def settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> BitcoinSettings:
    return load(BitcoinSettings, file=file, environ=environ or {}, flags=flags or {}, switches=["mempool", "utxo_set"])


def test_nothing_given_is_the_defaults() -> None:
    assert settings() == BitcoinSettings()
    assert settings().web.listen_address == "127.0.0.1:9332"


def test_flags_come_before_the_environment_and_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chainwatch.yml"
    file.write_text("rpc: {user: file, url: 'http://file:1'}\nchain: {name: file}\nweb: {config: {file: /web.yml}}\n")
    environ = {"CHAINWATCH_RPC_USER": "environment", "CHAINWATCH_CHAIN_NAME": "environment"}
    got = settings(file, environ, {"chain.name": "flag"})
    assert (got.rpc.url, got.rpc.user, got.chain.name) == ("http://file:1", "environment", "flag")
    assert got.web.config.file == Path("/web.yml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "rpc:\n  # url: x\n", "rpc: {}\n", "rpc: {user: null}\n"])
def test_a_file_with_everything_commented_out_is_the_defaults(text: str, tmp_path: Path) -> None:
    (tmp_path / "chainwatch.yml").write_text(text)
    assert settings(tmp_path / "chainwatch.yml") == BitcoinSettings()


def test_an_empty_environment_variable_is_not_given() -> None:
    assert settings(environ={"CHAINWATCH_RPC_USER": "", "CHAINWATCH_RPC_TIMEOUT": ""}) == BitcoinSettings()


def test_collectors_are_switched_by_name_wherever_settings_come_from(tmp_path: Path) -> None:
    (tmp_path / "chainwatch.yml").write_text("collector: {mempool: no, utxo_set: no}\n")
    got = settings(tmp_path / "chainwatch.yml", {"CHAINWATCH_COLLECTOR_UTXO_SET": "true"})
    assert got.collector == {"mempool": False, "utxo_set": True}


def test_texts_become_numbers_switches_and_paths() -> None:
    flags = {"rpc.timeout": "2.5", "web.max_connections": "7", "zmq.enabled": "false", "log.file": "~/debug.log"}
    got = settings(flags=flags)
    assert (got.rpc.timeout, got.web.max_connections, got.zmq.enabled) == (2.5, 7, False)
    assert got.log.file == Path.home() / "debug.log"


def test_a_secret_is_not_shown_by_what_holds_it() -> None:
    got = settings(environ={"CHAINWATCH_RPC_PASSWORD": SECRET})
    assert got.rpc.password == SECRET
    assert isinstance(got.rpc.password, Secret)
    assert SECRET not in repr(got)


def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(" with blanks \nignored\n")
    assert read_secret(tmp_path / "password", "rpc.password_file") == " with blanks "


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9332", ("127.0.0.1", 9332)),
        ("[::1]:0", ("::1", 0)),
        (":9332", ("", 9332)),
        ("node.example:1", ("node.example", 1)),
        ("[fe80::1%eth0]:9332", ("fe80::1%eth0", 9332)),
    ],
)
def test_an_address_is_split(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address, "key") == expected


@pytest.mark.parametrize(
    "address",
    ["", ":", "9332", "a:", "::1:9332", "[]:1", "[::1:1", "a b:1", "http://a:1", "a:+1", "a:٣", "a:1\n", "a/b:1"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        host_and_port(address, "key")


def test_environment_variables_that_look_like_settings_are_found() -> None:
    environ = {
        "CHAINWATCH_RPC_PASWORD": SECRET,
        "CHAINWATCH_COLLECTOR_MEMPOL": "1",
        "CHAINWATCH_STATE_FOLDER": "/x",
        "CHAINWATCH_RPC_URL": "right",
        "CHAINWATCH_COLLECTOR_MEMPOOL": "1",
        "CHAINWATCH_CONFIG_FILE": "/x",
        "CHAINWATCH_PORT_9332_TCP": "tcp://10.0.0.1:9332",
        "CHAINWATCH_SERVICE_HOST": "10.0.0.1",
        "PATH": "/bin",
    }
    assert misspelt(BitcoinSettings, environ, ["mempool"]) == {
        "CHAINWATCH_RPC_PASWORD": "CHAINWATCH_RPC_PASSWORD",
        "CHAINWATCH_COLLECTOR_MEMPOL": "CHAINWATCH_COLLECTOR_MEMPOOL",
        "CHAINWATCH_STATE_FOLDER": "CHAINWATCH_STATE_DIR",
    }


def test_every_setting_says_what_it_is_for() -> None:
    for option in options(BitcoinSettings()):
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", option.key)
        assert option.description.endswith("."), option.key


def test_every_setting_can_be_refused_and_read_from_text() -> None:
    """The type of a setting is one that msgspec can check."""
    samples = {"web.telemetry_path": "/m", "log.level": "info", "log.format": "json"}
    for option in options(BitcoinSettings()):
        with pytest.raises(ConfigError, match=re.escape(option.key)):
            settings(flags={option.key: ["no", "list"]})
        for text in (samples.get(option.key, "word"), "1", "true"):
            try:
                settings(flags={option.key: text})
                break
            except ConfigError:
                continue
        else:
            pytest.fail(f"{option.key} takes neither a word nor a number nor a switch")
