"""What an operator may set for a CometBFT node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import replace
from yarl import URL

from chainwatch.config import Log, Section, State, Web, read_yaml
from chainwatch.errors import ConfigError
from chainwatch.families.cometbft.sdk import bech32
from chainwatch.rpc import tls
from chainwatch.rpc.settings import RpcSection, check_login, check_url, origin

DEFAULT_LISTEN_ADDRESS = "127.0.0.1:11333"

# Each vantage point costs a stream, and memory for what it says of the present height.
MAX_VANTAGE_POINTS = 8

_ADDRESS = re.compile(r"[0-9A-Fa-f]{40}")
_NAME = re.compile(r"[A-Za-z0-9 ._-]{1,40}")
_ADDRESS_EXPECTED = "an address as in /status validator_info: 40 hex digits, or …valcons1…"
_NAME_EXPECTED = "1 to 40 letters, digits, blanks, dots, underlines or hyphens"


class Rpc(RpcSection, frozen=True, kw_only=True):
    """How to reach the watched node's RPC server."""

    url: Annotated[
        str, Meta(description="The watched node's RPC address (rpc.laddr); the path of a proxy in front is kept.")
    ] = "http://127.0.0.1:26657"
    user: Annotated[str | None, Meta(description="User of a proxy in front of the node.")] = None


class Vantage(Section, frozen=True, kw_only=True):
    """Other nodes of the same chain, to see more and to ask while the watched node does not answer."""

    urls: Annotated[str | None, Meta(description="Further RPC addresses of the same chain, separated by commas.")] = (
        None
    )
    same_login: Annotated[bool, Meta(description="Send rpc.user and its password to the further addresses too.")] = (
        False
    )


class Chain(Section, frozen=True, kw_only=True):
    """What the node does not tell of its chain."""

    spacing: Annotated[
        float | None,
        Meta(
            description="Seconds between blocks that the chain aims at; the median of the last ones when absent.", gt=0
        ),
    ] = None


class Validators(Section, frozen=True, kw_only=True):
    """Which validators are one's own, and what validators are called."""

    own: Annotated[
        str | None,
        Meta(description="One's own validators: addresses (hex or valcons), each with =NAME if wanted, with commas."),
    ] = None
    file: Annotated[
        Path | None, Meta(description="YAML file with the names of any validators, a line each: ADDRESS: name.")
    ] = None
    only_own: Annotated[
        bool, Meta(description="Give metrics of single validators for one's own only, not for the whole set.")
    ] = False


class Stream(Section, frozen=True, kw_only=True):
    """How consensus events are read."""

    queue: Annotated[
        int, Meta(description="Frames that may wait to be worked on; more are dropped and counted.", ge=100, le=1000000)
    ] = 20_000
    silence: Annotated[
        float,
        Meta(description="Seconds without an event after which the node is asked whether it moves on.", gt=0, le=600),
    ] = 5.0


class Tracker(Section, frozen=True, kw_only=True):
    """How heights are followed and filled in."""

    poll_interval: Annotated[float, Meta(description="Seconds between cheap looks at the node.", gt=0, le=3600)] = 1.0
    max_fill: Annotated[
        int, Meta(description="Heights read afterwards at most, newest first kept; older ones are skipped.", ge=0)
    ] = 1000


class Top(Section, frozen=True, kw_only=True):
    """Where `chainwatch cometbft top` finds the exporter."""

    url: Annotated[
        str | None, Meta(description="The exporter that `top` shows, http://host:port; web.listen-address when absent.")
    ] = None
    user: Annotated[str | None, Meta(description="User that the exporter's web.config.file asks for.")] = None
    password_file: Annotated[Path | None, Meta(description="File whose first line is that user's password.")] = None
    ca_file: Annotated[Path | None, Meta(description="Certificate authority of an exporter that has TLS.")] = None


class CometbftSettings(Struct, frozen=True, kw_only=True):
    """All settings of `chainwatch cometbft`."""

    web: Web = field(default_factory=lambda: Web(listen_address=DEFAULT_LISTEN_ADDRESS))
    log: Log = Log()
    state: State = State()
    rpc: Rpc = Rpc()
    vantage: Vantage = Vantage()
    chain: Chain = Chain()
    validators: Validators = Validators()
    stream: Stream = Stream()
    tracker: Tracker = Tracker()
    top: Top = Top()
    collector: Annotated[dict[str, bool], Meta(description="Collectors switched on or off by name.")] = field(
        default_factory=dict
    )


def endpoints(settings: CometbftSettings) -> tuple[Rpc, ...]:
    """The watched node's address, then each vantage point's, with the login that is meant for it."""
    rpc = settings.rpc
    if not settings.vantage.same_login:
        rpc = replace(rpc, user=None, password=None, password_file=None)
    urls = _listed(settings.vantage.urls)
    return (settings.rpc, *(replace(rpc, url=url) for url in urls))


def own_validators(settings: CometbftSettings) -> dict[str, str]:
    """Name of each of one's own validators by its address (upper-case hex); its first 8 digits where none is given.

    Raises `ConfigError`.
    """
    names = _in_file(settings.validators.file)
    return {address: name or names.get(address, address[:8]) for address, name in _own(settings.validators.own)}


def validator_names(settings: CometbftSettings) -> dict[str, str]:
    """Name of every validator that the operator named, by address. Raises `ConfigError`."""
    given = {address: name for address, name in _own(settings.validators.own) if name}
    return _in_file(settings.validators.file) | given


def check(settings: CometbftSettings) -> None:
    """Refuse what no single setting shows to be wrong; raises `ConfigError`."""
    addresses = endpoints(settings)
    schemes = {check_url("rpc.url", settings.rpc.url).scheme}
    schemes |= {check_url("vantage.urls", rpc.url).scheme for rpc in addresses[1:]}
    _check_not_websocket(settings)
    _check_vantage([rpc.url.rstrip("/") for rpc in addresses])
    check_login(settings.rpc)
    if settings.vantage.same_login and settings.rpc.user is None:
        raise ConfigError("vantage.same_login", "given without a login", "rpc.user and rpc.password_file too")
    if settings.rpc.ca_file:
        if "https" not in schemes:
            raise ConfigError("rpc.ca_file", "given for http addresses", "an https address in rpc.url")
        tls.context(settings.rpc.ca_file)
    if settings.state.dir and not settings.state.dir.is_dir():
        raise ConfigError("state.dir", f"{settings.state.dir} is no folder", "a folder that this user may write to")
    if not own_validators(settings) and settings.validators.only_own:
        raise ConfigError("validators.only_own", "given without one's own validators", "them in validators.own")
    check_top(settings.top)


def check_top(top: Top) -> None:
    """Refuse what cannot be an exporter's address or login; raises `ConfigError`.

    Its files are left alone: they are for the person who looks, and the exporter's user need not be able to read them.
    """
    expected = "http://host:port or https://host:port of an exporter"
    if top.url is not None:
        try:
            url = URL(top.url)
        except ValueError:
            raise ConfigError("top.url", "not a URL", expected) from None
        if url.user or url.password or (not url.host and "@" in top.url):
            raise ConfigError("top.url", "contains a user or password", "them in top.user and top.password_file")
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError("top.url", f"{origin(top.url)!r} is no address of an exporter", expected)
    if (top.user is None) != (top.password_file is None):
        raise ConfigError("top.user", "user and password file belong together", "both or neither")


def _check_not_websocket(settings: CometbftSettings) -> None:
    """Check that no address is that of the websocket, which takes no call; the exporter finds it by itself."""
    for key, urls in (("rpc.url", [settings.rpc.url]), ("vantage.urls", _listed(settings.vantage.urls))):
        if any(url.rstrip("/").endswith("/websocket") for url in urls):
            raise ConfigError(key, "the path /websocket is found without being told", "the address before it")


def _check_vantage(urls: list[str]) -> None:
    """Check that each address is another: a node that is its own second witness proves nothing."""
    for place, url in enumerate(urls):
        if url in urls[:place]:
            other = "the watched node's address" if url == urls[0] else "given more than once"
            raise ConfigError(
                "vantage.urls", f"{origin(url)!r} is {other}", "addresses of other nodes of the same chain"
            )
    if len(urls) - 1 > MAX_VANTAGE_POINTS:
        raise ConfigError("vantage.urls", f"{len(urls) - 1} addresses", f"at most {MAX_VANTAGE_POINTS}")


def _listed(text: str | None) -> list[str]:
    """The entries of a setting that is a list with commas."""
    return [entry.strip() for entry in (text or "").split(",") if entry.strip()]


def _own(text: str | None) -> Iterator[tuple[str, str]]:
    """Address and name (or nothing) of each entry of `validators.own`."""
    seen = set()
    for entry in _listed(text):
        address, equals, name = (part.strip() for part in entry.partition("="))
        address = _address(address, "validators.own")
        if address in seen:
            raise ConfigError("validators.own", f"{address} is given more than once", "each address once")
        seen.add(address)
        yield address, _name(name, "validators.own") if equals else ""


def _in_file(file: Path | None) -> dict[str, str]:
    """Names by address, of `validators.file`."""
    key, names = "validators.file", dict[str, str]()
    for given, name in (read_yaml(file, key) if file else {}).items():
        address = _address(given, f"{key}: {file}")
        if address in names:
            raise ConfigError(key, f"{file}: {address} is given more than once", "each address once")
        names[address] = _name(name, f"{key}: {file}")
    return names


def _address(text: object, key: str) -> str:
    text = (bech32.address(text) or text) if isinstance(text, str) and "valcons1" in text else text
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        hint = "; an operator's address (…valoper1…) is another thing" if "valoper" in str(text) else ""
        raise ConfigError(key, f"{str(text)[:80]!r} is no validator address", _ADDRESS_EXPECTED + hint)
    return text.upper()


def _name(text: object, key: str) -> str:
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ConfigError(key, f"{str(text)[:80]!r} cannot be a name", _NAME_EXPECTED)
    return text
