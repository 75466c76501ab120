"""What an operator may set for a Bitcoin-family node."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from chainwatch.config import Log, Section, State, Web
from chainwatch.errors import ConfigError
from chainwatch.rpc import tls
from chainwatch.rpc.settings import RpcSection, check_login, check_url

DEFAULT_LISTEN_ADDRESS = "127.0.0.1:9332"


class BitcoinLog(Log, frozen=True, kw_only=True):
    """The exporter's own log, and the node's log where it is followed."""

    file: Annotated[
        Path | None, Meta(description="The node's log to follow, for what it tells nowhere else (off when absent).")
    ] = None


class Rpc(RpcSection, frozen=True, kw_only=True):
    """How to reach the node's JSON-RPC server."""

    url: Annotated[str, Meta(description="The node's JSON-RPC server; a path such as /wallet/NAME is kept.")] = (
        "http://127.0.0.1:8332"
    )
    user: Annotated[str | None, Meta(description="RPC user, where no cookie is used.")] = None
    cookie_file: Annotated[Path | None, Meta(description="The node's .cookie; read again after a node restart.")] = None


class Zmq(Section, frozen=True, kw_only=True):
    """The node's ZMQ publisher."""

    enabled: Annotated[bool, Meta(description="Use the node's ZMQ publisher where it has one.")] = True
    url: Annotated[
        str | None,
        Meta(description="ZMQ address, tcp://host:port; asked of the node (getzmqnotifications) when absent."),
    ] = None


class Chain(Section, frozen=True, kw_only=True):
    """For derivatives that chainwatch does not know by name."""

    name: Annotated[
        str | None,
        Meta(
            description="Value of the label chain, in place of what the node reports.", pattern=r"^[a-z0-9._-]{1,40}$"
        ),
    ] = None
    spacing: Annotated[float | None, Meta(description="Seconds between blocks that the protocol aims at.", gt=0)] = None
    halving: Annotated[int | None, Meta(description="Blocks between two halvings of the subsidy.", gt=0)] = None


class Peers(Section, frozen=True, kw_only=True):
    """What the node's settings say about its connections; RPC does not tell."""

    inbound_slots: Annotated[
        int | None, Meta(description="Inbound connections the node accepts (maxconnections less 11).", ge=0)
    ] = None


class Tracker(Section, frozen=True, kw_only=True):
    """How the tip is followed between scrapes."""

    poll_interval: Annotated[float, Meta(description="Seconds between cheap looks at the tip.", gt=0, le=3600)] = 1.0


class BitcoinSettings(Struct, frozen=True, kw_only=True):
    """All settings of `chainwatch bitcoin`."""

    web: Web = field(default_factory=lambda: Web(listen_address=DEFAULT_LISTEN_ADDRESS))
    log: BitcoinLog = BitcoinLog()
    state: State = State()
    rpc: Rpc = Rpc()
    zmq: Zmq = Zmq()
    chain: Chain = Chain()
    peers: Peers = Peers()
    tracker: Tracker = Tracker()
    collector: Annotated[dict[str, bool], Meta(description="Collectors switched on or off by name.")] = field(
        default_factory=dict
    )


def check(settings: BitcoinSettings) -> None:
    """Refuse what no single setting shows to be wrong; raises `ConfigError`."""
    check_rpc(settings.rpc)
    if settings.state.dir and not settings.state.dir.is_dir():
        raise ConfigError("state.dir", f"{settings.state.dir} is no folder", "a folder that this user may write to")
    zmq = settings.zmq.url
    if zmq is not None and not zmq.startswith(("tcp://", "ipc://")):
        raise ConfigError("zmq.url", f"{zmq!r} is no ZMQ address", "tcp://host:port or ipc://path")


def check_rpc(rpc: Rpc) -> None:
    """Check that the address and the way to log in make sense together."""
    url = check_url("rpc.url", rpc.url)
    if rpc.cookie_file and (rpc.user or rpc.password or rpc.password_file):
        raise ConfigError("rpc.cookie_file", "given together with a user or password", "one of the two")
    check_login(rpc)
    if rpc.ca_file and url.scheme != "https":
        raise ConfigError("rpc.ca_file", "given for an http address", "an https address in rpc.url")
    if rpc.ca_file:
        tls.context(rpc.ca_file)
