"""Can the node be reached, does it answer, and how is it?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from yarl import URL

from chainwatch import errors
from chainwatch.exposition.report import Finding, fail, ok, said, warn
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.node import is_label
from chainwatch.families.cometbft.schema import NetInfo, Status, SyncInfo
from chainwatch.families.cometbft.settings import Rpc
from chainwatch.rpc import reach

# Ports that people take for the RPC server's, as they are by default.
OTHER_PORTS = {
    26656: "for peers",
    26658: "of the application (ABCI)",
    26660: "of the node's own metrics",
    1317: "of the application's REST server",
    9090: "of the application's gRPC server",
}

# A chain in health has a block every few seconds; the slowest known ones take a minute or two.
OLD_SECONDS = 120.0
# A block's time is that of votes for the one before: it never lies ahead of a clock that is right.
AHEAD_SECONDS = 1.0


def reachable(settings: Rpc) -> Iterator[Finding]:
    """Yield whether something listens; ends after the first step that fails."""
    yield from reach.address(settings)
    yield from reach.connection(
        settings,
        "Is the node running? Is this its RPC port (rpc.laddr in config.toml, 26657 by default), and does it listen on "
        "this address? Inside a container 127.0.0.1 is the container itself.",
    )


async def status(endpoints: Endpoints) -> Status | Finding:
    """Ask /status; returns what is wrong where that fails."""
    try:
        return await endpoints.status()
    except errors.Unauthorized as error:
        return fail("login", said(error), "Give rpc.user and rpc.password_file as the proxy has them.")
    except errors.NodeTimeout as error:
        return fail(
            "server",
            said(error),
            "It accepts connections, but nothing reads them: is the process stopped (state T in ps), swapping, or on a "
            "disk that hangs?",
        )
    except errors.NodeError as error:
        url = URL(endpoints.own.settings.url)
        other = f" {url.port} is usually the port {OTHER_PORTS[url.port]}." if url.port in OTHER_PORTS else ""
        return fail("server", said(error), f"Check host, port and path in rpc.url, and http against https.{other}")


async def examine(endpoints: Endpoints, told: Status) -> list[Finding]:
    """Return which node it is, whether it is in sync, and whether it has peers."""
    info = told.node_info
    found = [ok("node", f"{info.moniker or 'unnamed'}: version {info.version}, chain {info.network}.")]
    if not is_label(info.network):
        found.append(
            warn(
                "chain", "The chain's name cannot be a label; metrics will say chain=unknown.", "Only A-Za-z0-9._- can."
            )
        )
    return [*found, *_sync(told.sync_info), await _peers(endpoints)]


def is_live(told: Status) -> bool:
    """Whether the node's newest block is of now."""
    block = told.sync_info.latest_block_time
    return not told.sync_info.catching_up and block is not None and time.time() - unix(block) < OLD_SECONDS


def _sync(sync: SyncInfo) -> Iterator[Finding]:
    if sync.latest_block_height <= 0 or sync.latest_block_time is None:
        yield warn("sync", "The node has no block yet.", "Is it just starting, or before the chain's genesis time?")
        return
    age = time.time() - unix(sync.latest_block_time)
    where = f"height {sync.latest_block_height}, its block {max(age, 0):.0f} s old"
    if sync.catching_up:
        yield warn(
            "sync", f"It catches up: {where}.", "Until it has, it tells no votes, and validators are not judged."
        )
    elif age > OLD_SECONDS:
        yield warn(
            "sync",
            f"It says that it is in sync, and stands at {where}.",
            "Either the chain has halted, or this node has lost its peers or its consensus has failed (grep CONSENSUS "
            "FAILURE in its log). Compare with another node of the chain.",
        )
    else:
        yield ok("sync", f"In sync at {where}.")
    if age < -AHEAD_SECONDS:
        yield warn(
            "clock", f"The newest block is {-age:.1f} s ahead of this machine's clock.", "See timedatectl status."
        )


async def _peers(endpoints: Endpoints) -> Finding:
    try:
        info = await endpoints.own.call("net_info", NetInfo)
    except errors.NodeError as error:
        return warn("peers", said(error), "The metrics chainwatch_peers and cometbft_peers_* will be absent.")
    number = len(info.peers) if info.peers is not None else info.n_peers
    if number == 0:
        return warn("peers", "The node has no peers.", "See p2p.persistent_peers and p2p.seeds in config.toml.")
    return ok("peers", f"{number} peers." if number != 1 else "One peer.")
