"""Can the node be reached, and does it let us in?"""

from __future__ import annotations

import grp
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Raw
from yarl import URL

from chainwatch import errors
from chainwatch.exposition.report import Finding, Level, fail, ok, said, user_name, warn
from chainwatch.families.bitcoin.oneoff import OneOff
from chainwatch.families.bitcoin.schema import BlockchainInfo
from chainwatch.families.bitcoin.settings import Rpc
from chainwatch.rpc import reach

BITCOIN_P2P_PORTS = frozenset({8333, 18333, 18444, 38333, 48333, 9333, 19335, 19444})


def examine(settings: Rpc, node: OneOff) -> Iterator[Finding]:
    """Yield a finding for each step up to a first answer; ends after the first one that fails."""
    for step in (_address, _connection, _server, _login):
        for finding in step(settings, node):
            yield finding
            if finding.level is Level.FAIL:
                return


def _address(settings: Rpc, _node: OneOff) -> Iterator[Finding]:
    return reach.address(settings)


def _connection(settings: Rpc, _node: OneOff) -> Iterator[Finding]:
    return reach.connection(
        settings,
        "Is the node running, with server=1? Is this its RPC port (rpcport), and does it listen on this address "
        "(rpcbind)? Bitcoin 8332, Litecoin 9332; testnet and regtest differ.",
    )


def _server(settings: Rpc, node: OneOff) -> Iterator[Finding]:
    """Ask without a login: the node's RPC server answers 401, or 403 to an address that it does not allow."""
    unlocked = warn("server", f"{node.address} answers without a login.", "Whoever reaches it commands the node.")
    tls = " over TLS" if URL(settings.url).scheme == "https" else ""
    try:
        node.ask("uptime", into=Raw, anonymous=True)
    except errors.Unauthorized:
        yield ok("server", f"An RPC server answers{tls} and asks for a login; it allows this machine's address.")
    except errors.Forbidden:
        yield fail(
            "server",
            f"{node.address} refuses this machine's address (403, before any login).",
            "Allow the address that the node sees us come from in the node's configuration, and restart the node:",
            [f"rpcallowip={_own_address(settings) or 'ADDRESS'}"],
        )
    except errors.NodeTimeout as error:
        yield fail(
            "server",
            said(error),
            "It accepts connections, but nothing reads them: is the process stopped (state T in ps), swapping, or on a "
            "disk that hangs?",
        )
    except (errors.BadReply, errors.NodeUnreachable) as error:
        port = URL(settings.url).port
        peer = f" {port} is a port for peers, not for RPC." if port in BITCOIN_P2P_PORTS else ""
        yield fail("server", f"{error}", f"Check host and port in rpc.url, and http against https.{peer}")
    except errors.WorkQueueFull as error:
        yield fail("server", f"{error}", "Find out which other program asks so much; it hurts them all.")
    except errors.NodeError:
        yield unlocked
    else:
        yield unlocked


def _own_address(settings: Rpc) -> str | None:
    """The address that we connect from: connecting a datagram socket sends nothing, but chooses one."""
    url = URL(settings.url)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as connection:
            connection.connect(address)
            return str(connection.getsockname()[0])
    except OSError:
        return None


def _login(settings: Rpc, node: OneOff) -> Iterator[Finding]:
    """Ask with the login."""
    who = _who(settings)
    try:
        node.call("getblockchaininfo", into=BlockchainInfo)
    except errors.Unauthorized as error:
        yield fail("login", f"{error}", _login_advice(settings))
    except errors.NodeUnreachable as error:
        yield fail("login", f"{error}", _login_advice(settings))
    except errors.Forbidden:
        yield ok("login", f"The node accepts {who}.")  # what it may ask is the whitelist's matter
    except errors.WarmingUp as error:
        yield ok("login", f"The node accepts {who}.")
        yield fail("warm-up", said(error), "Wait: after an unclean stop this takes minutes. Then run this again.")
    except errors.NodeTimeout as error:
        yield ok("login", f"The node accepts {who}.")
        yield fail(
            "warm-up",
            said(error),
            "The RPC server is alive, but the chain state is locked: a long validation, a slow disk, or a heavy call "
            "of another program. Raise rpc.timeout if this is usual.",
        )
    except errors.NodeError as error:
        yield fail("login", f"{error}", "Is this a Bitcoin-family node?")
    else:
        yield ok("login", f"The node accepts {who}, and is out of warm-up.")


def _who(settings: Rpc) -> str:
    if settings.cookie_file is not None:
        return f"the cookie in {settings.cookie_file}"
    return f"user {settings.user}" if settings.user is not None else "calls without a login"


def _login_advice(settings: Rpc) -> str:
    if settings.cookie_file is not None:
        return (
            f"{_permissions(settings.cookie_file)} The node writes it anew at each start, and removes it when it stops."
        )
    if settings.user is None:
        return (
            "Give --rpc.cookie-file, such as ~/.bitcoin/.cookie (~/.bitcoin/regtest/.cookie, ~/.litecoin/.cookie), or "
            "--rpc.user with --rpc.password-file."
        )
    return (
        "The password is what rpcauth.py printed, not the line with the $ that stands in the node's configuration; the "
        "node reads rpcauth only when it starts. A password file holds it in its first line."
    )


def _permissions(file: Path) -> str:
    """Who may read a file, as `ls -l` shows it, and who we are."""
    lowest = file
    try:
        while not lowest.exists():
            lowest = lowest.parent
    except PermissionError:
        lowest = lowest.parent
    try:
        state = lowest.stat()
    except OSError:
        return ""
    return f"{lowest} is {stat.filemode(state.st_mode)} {user_name(state.st_uid)}:{_group_name(state.st_gid)}."


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
