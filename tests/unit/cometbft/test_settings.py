# ruff: noqa: E501 - one case a line reads best
"""Settings of a CometBFT node: what is made of them, and what an operator is told when one is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chainwatch.config import Secret, load, options
from chainwatch.errors import ConfigError
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

A, B = "63D55B36139650643B22251A44066B2215A15318", "1DA39A678B60D13FEF148D4B7CCA44182112716E"
SECRET = "correct-horse-battery"
EXPECTED = "; expected an address as in /status validator_info: 40 hex digits"
NAME = "; expected 1 to 40 letters, digits, blanks, dots, underlines or hyphens"
LOGIN = {"rpc.user": "a", "rpc.password_file": "DIR/password"}


@dataclass(frozen=True)
class Wrong:
    """One wrong configuration, and the one line that it gives; DIR is the folder of its files."""

    what: str
    line: str
    given: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)


# fmt: off
WRONG = [
    Wrong("RPC address as the node's own configuration has it", "rpc.url: 'tcp://127.0.0.1:26657' is no RPC address; expected http://host:port or https://host:port", {"rpc.url": "tcp://127.0.0.1:26657"}),
    Wrong("websocket's address", "rpc.url: 'ws://127.0.0.1:26657' is no RPC address; expected http://host:port or https://host:port", {"rpc.url": "ws://127.0.0.1:26657/websocket"}),
    Wrong("password in the URL", "rpc.url: contains a user or password; expected them in rpc.user and rpc.password_file", {"rpc.url": f"http://u:{SECRET}@h:1"}),
    Wrong("key in the path of what is no RPC address", "rpc.url: 'wss://h' is no RPC address; expected http://host:port or https://host:port", {"rpc.url": f"wss://h/{SECRET}?k={SECRET}"}),
    Wrong("key in an address without a scheme", "vantage.urls: 'h:1' is no RPC address; expected http://host:port or https://host:port", {"vantage.urls": f"h:1/{SECRET}"}),
    Wrong("key in the path of a vantage point that is there twice", "vantage.urls: 'https://a:1' is given more than once; expected addresses of other nodes of the same chain", {"vantage.urls": f"https://a:1/{SECRET},https://a:1/{SECRET}"}),
    Wrong("user without password", "rpc.user: user and password belong together; expected both or neither", {"rpc.user": "a"}),
    Wrong("two passwords", "rpc.password_file: given together with rpc.password; expected one of the two", {**LOGIN, "rpc.password": SECRET}),
    Wrong("password file that is not there", "rpc.password_file: cannot read DIR/password: No such file or directory; expected a file that this user may read", LOGIN),
    Wrong("certificate authority without https", "rpc.ca_file: given for http addresses; expected an https address in rpc.url", {"rpc.ca_file": "/x"}),
    Wrong("certificate authority that is not there", "rpc.ca_file: cannot read DIR/none; expected a PEM file", {"rpc.url": "https://h:1", "rpc.ca_file": "DIR/none"}),
    Wrong("vantage point without a scheme", "vantage.urls: 'h:26657' is no RPC address; expected http://host:port or https://host:port", {"vantage.urls": "http://a:26657, h:26657"}),
    Wrong("vantage point with a password", "vantage.urls: contains a user or password; expected them in rpc.user and rpc.password_file", {"vantage.urls": f"http://u:{SECRET}@h:1"}),
    Wrong("vantage point that is the watched node", "vantage.urls: 'http://127.0.0.1:26657' is the watched node's address; expected addresses of other nodes of the same chain", {"vantage.urls": "http://127.0.0.1:26657/"}),
    Wrong("vantage point twice", "vantage.urls: 'http://a:1' is given more than once; expected addresses of other nodes of the same chain", {"vantage.urls": "http://a:1,http://b:1,http://a:1"}),
    Wrong("too many vantage points", "vantage.urls: 9 addresses; expected at most 8", {"vantage.urls": ",".join(f"http://h{n}:1" for n in range(9))}),
    Wrong("same login without a login", "vantage.same_login: given without a login; expected rpc.user and rpc.password_file too", {"vantage.same_login": "true"}),
    Wrong("spacing of nothing", "chain.spacing: '0' is not valid (in flag --chain.spacing); expected a number more than 0", {"chain.spacing": "0"}),
    Wrong("address that is too short", "validators.own: '63D55B' is no validator address" + EXPECTED, {"validators.own": "63D55B"}),
    Wrong("address that is no hex", f"validators.own: '{'g' * 40}' is no validator address" + EXPECTED, {"validators.own": "g" * 40}),
    Wrong("operator's address", "validators.own: 'cosmosvaloper1abc' is no validator address" + EXPECTED + "; an operator's address (…valoper1…) is another thing", {"validators.own": "cosmosvaloper1abc"}),
    Wrong("own validator twice", f"validators.own: {A} is given more than once; expected each address once", {"validators.own": f"{A},{A.lower()}=x"}),
    Wrong("name with a quote", "validators.own: 'a\"b' cannot be a name" + NAME, {"validators.own": f'{A}=a"b'}),
    Wrong("name with a line end", "validators.own: 'a\\nb' cannot be a name" + NAME, {"validators.own": f"{A}=a\nb"}),
    Wrong("name of nothing", "validators.own: '' cannot be a name" + NAME, {"validators.own": f"{A}="}),
    Wrong("only one's own without any", "validators.only_own: given without one's own validators; expected them in validators.own", {"validators.only_own": "true"}),
    Wrong("file of names that is not there", "validators.file: cannot read DIR/none: No such file or directory; expected a YAML file that this user may read", {"validators.file": "DIR/none"}),
    Wrong("file of names that is a list", "validators.file: DIR/names: the top level is a list; expected a mapping of sections", {"validators.file": "DIR/names"}, {"names": f"[{A}]"}),
    Wrong("file with a wrong address", "validators.file: DIR/names: 'alice' is no validator address" + EXPECTED, {"validators.file": "DIR/names"}, {"names": f"alice: {A}"}),
    Wrong("file with a wrong name", "validators.file: DIR/names: '{1: 2}' cannot be a name" + NAME, {"validators.file": "DIR/names"}, {"names": f"{A}: {{1: 2}}"}),
    Wrong("file with an address in two spellings", f"validators.file: DIR/names: {A} is given more than once; expected each address once", {"validators.file": "DIR/names"}, {"names": f"{A}: a\n{A.lower()}: b"}),
    Wrong("folder for the state that is not there", "state.dir: DIR/none is no folder; expected a folder that this user may write to", {"state.dir": "DIR/none"}),
    Wrong("queue that holds nothing", "stream.queue: '0' is not valid (in flag --stream.queue); expected a whole number at least 100 and at most 1000000", {"stream.queue": "0"}),
]
# fmt: on


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_a_wrong_configuration_gives_one_line(wrong: Wrong, tmp_path: Path) -> None:
    for name, content in wrong.files.items():
        (tmp_path / name).write_text(content)
    given = {key: value.replace("DIR", str(tmp_path)) for key, value in wrong.given.items()}
    with pytest.raises(ConfigError) as caught:
        check(settings(**given))
    line = str(caught.value).replace(str(tmp_path), "DIR")
    assert line == wrong.line
    assert "\n" not in line
    assert SECRET not in line


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
