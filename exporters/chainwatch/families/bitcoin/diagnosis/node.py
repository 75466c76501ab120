"""Which node it is, how it is, whether its clock is right, and what its RPC server is busy with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from msgspec import Struct

from chainwatch import errors
from chainwatch.exposition.report import Finding, fail, ok, skip, warn
from chainwatch.families.bitcoin.chains import identify
from chainwatch.families.bitcoin.client import MAX_REQUESTS
from chainwatch.families.bitcoin.oneoff import Answer, OneOff
from chainwatch.families.bitcoin.schema import BlockchainInfo, NetworkInfo
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.zmq_feed import Publisher

T = TypeVar("T")

# First-seen times of nodes are compared with each other, and honest relay takes a second or two.
CLOCK_SECONDS = 2.0
# Blocks whose time is more than 70 minutes away from the node's were once refused by it; Core warns at 10.
PEERS_CLOCK_SECONDS = 60
# A call that takes this long holds one of the node's few RPC threads (4 by default up to Core 28).
LONG_CALL_SECONDS = 30
BUSY_CALLS = 4
OLDEST_CORE = 210000


class NetTotals(Struct):
    """What is read of getnettotals."""

    timemillis: int | None = None


class ActiveCommand(Struct):
    """One entry of getrpcinfo.active_commands."""

    method: str = ""
    duration: int = 0  # microseconds


class RpcInfo(Struct):
    """The answer of getrpcinfo."""

    active_commands: list[ActiveCommand] = []
    logpath: str | None = None


QUESTIONS: dict[str, Any] = {
    "getblockchaininfo": BlockchainInfo,
    "getnetworkinfo": NetworkInfo,
    "getnettotals": NetTotals,
    "getrpcinfo": RpcInfo,
    "getzmqnotifications": list[Publisher],
    "activezmqnotifications": list[Publisher],
    "logging": dict[str, bool | int],
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the node answered to each of `QUESTIONS`."""

    answers: dict[str, Answer[Any] | errors.NodeError]

    def get(self, method: str, into: type[T]) -> T | None:
        """The answer, None where there is none."""
        answer = self.answers[method]
        if isinstance(answer, errors.NodeError):
            return None
        return answer.result if isinstance(answer.result, into) else None

    @property
    def blockchain(self) -> BlockchainInfo | None:
        """The answer of getblockchaininfo."""
        return self.get("getblockchaininfo", BlockchainInfo)

    @property
    def late(self) -> errors.NodeTimeout | None:
        """The first answer that did not come in time."""
        return next((answer for answer in self.answers.values() if isinstance(answer, errors.NodeTimeout)), None)

    @property
    def network(self) -> NetworkInfo | None:
        """The answer of getnetworkinfo."""
        return self.get("getnetworkinfo", NetworkInfo)


def ask_all(node: OneOff, seconds: float) -> Facts:
    """Ask the node all `QUESTIONS`, a few at a time, in `seconds` altogether."""

    def ask(method: str) -> Answer[Any] | errors.NodeError:
        return attempt(lambda left: node.ask(method, into=QUESTIONS[method], timeout=left), deadline)

    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(MAX_REQUESTS) as threads:
        return Facts(dict(zip(QUESTIONS, threads.map(ask, QUESTIONS), strict=True)))


def attempt(ask: Callable[[float], T], deadline: float) -> T | errors.NodeError:
    """Ask with what is left of the time; return the error instead of raising it."""
    left = deadline - time.monotonic()
    if left <= 0:
        return errors.NodeTimeout("not asked: the node had already taken all the time there was")
    try:
        return ask(left)
    except errors.NodeError as error:
        return error


def examine(settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    """Yield what can be told of the node."""
    for part in (_software, _sync, _peers, _warnings, _queue):
        yield from part(settings, facts)


def _software(settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    network, blockchain = facts.network, facts.blockchain
    if network is None or blockchain is None:
        failed = [answer for answer in facts.answers.values() if isinstance(answer, errors.NodeError)]
        told = isinstance(failed[0], errors.Forbidden | errors.NodeTimeout)  # by another finding
        yield (skip if told else fail)("software", f"Which node this is cannot be told: {failed[0]}")
        return
    chain = identify(network.subversion, blockchain.chain, settings.chain)
    said = f"The node calls itself {network.subversion[:200]}"
    if chain.client == "satoshi" and network.version < OLDEST_CORE:
        yield warn("software", f"{said}: older than Bitcoin Core 0.21.", "Not tested; expect metrics to be absent.")
    else:
        yield ok("software", f"{said}.")
    if chain.spacing is None:
        yield warn(
            "chain",
            f'"{chain.label}", a chain that chainwatch does not know.',
            "Without its block spacing no alert can tell that its tip is old. Set, for example:",
            ["chain: {spacing: 60, halving: 840000}"],
        )
    else:
        yield ok("chain", f'Metrics carry the label chain="{chain.label}"; a block every {chain.spacing:g} s.')


def _sync(_settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    info = facts.blockchain
    if info is None:
        return
    where = f"height {info.blocks} of {info.headers} headers"
    if info.initialblockdownload:
        share = f", {info.verificationprogress:.2%} verified" if info.verificationprogress is not None else ""
        yield warn(
            "sync",
            f"The node is in initial block download: {where}{share}.",
            "Alerts on old tips and empty mempools are silent until it has caught up.",
        )
    elif info.headers - info.blocks > 1:
        yield warn("sync", f"The node is behind: {where}.", "If this stays so, see the node's log and its disk.")
    else:
        yield ok("sync", f"In step with its headers: {where}.")


def _peers(_settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    network, blockchain = facts.network, facts.blockchain
    if network is None:
        return
    if network.networkactive is False:
        yield warn("peers", "The node's network is switched off.", "Switch it on: bitcoin-cli setnetworkactive true")
    elif network.connections == 0 and blockchain is not None and blockchain.chain != "regtest":
        yield warn("peers", "The node has no peers.", "Nothing new can reach it; see its log, and the firewall.")
    elif network.connections is not None:
        yield ok("peers", f"{network.connections} connections.")


def _warnings(_settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    warnings = facts.network.warnings if facts.network else None
    for text in [warnings] if isinstance(warnings, str) else warnings or []:
        if text:
            yield warn("warning", f"The node says: {text[:500]}")


def _queue(_settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    info = facts.get("getrpcinfo", RpcInfo)
    if info is None:
        return
    others = [command for command in info.active_commands if command.method not in QUESTIONS]
    if not others:
        yield ok("RPC queue", "No other program's call is under way.")
        return
    longest = max(others, key=lambda command: command.duration)
    text = f"{len(others)} calls of others under way, {longest.method} for {longest.duration / 1e6:.1f} s."
    if len(others) >= BUSY_CALLS or longest.duration > LONG_CALL_SECONDS * 1e6:
        yield warn("RPC queue", text, "They hold RPC threads that scrapes wait for; see rpcthreads and rpcworkqueue.")
    else:
        yield ok("RPC queue", text)


def examine_clock(facts: Facts) -> Iterator[Finding]:
    """Compare the node's clock with ours, and with its peers' as the node sees them."""
    ahead = clock_ahead(facts)
    if ahead is None:
        return
    offset, sure = ahead
    if abs(offset) - sure > CLOCK_SECONDS:
        yield warn(
            "clock",
            f"The node's clock is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this machine's.",
            "One of the two is wrong; see chronyc tracking or timedatectl on both. First-seen times depend on it.",
        )
    else:
        yield ok("clock", f"The node's clock and this machine's agree within {max(0.01, abs(offset) + sure):.2f} s.")
    network = facts.network
    if network and network.connections and abs(network.timeoffset or 0) > PEERS_CLOCK_SECONDS:
        yield warn("clock", f"The node's peers are {network.timeoffset} s ahead of it.", "Check its clock.")


def clock_ahead(facts: Facts) -> tuple[float, float] | None:
    """By how many seconds the node's clock is ahead of ours, and how sure that is; None when nothing tells.

    From getnettotals.timemillis, else from the Date header of any answer, which has whole seconds.
    """
    totals = facts.answers["getnettotals"]
    if isinstance(totals, Answer) and totals.result.timemillis is not None:
        return _ahead(totals, totals.result.timemillis / 1000, 0.0)
    for answer in facts.answers.values():
        if isinstance(answer, Answer) and answer.date:
            try:
                return _ahead(answer, parsedate_to_datetime(answer.date).timestamp() + 0.5, 0.5)
            except (ValueError, OverflowError):
                return None
    return None


def _ahead(answer: Answer[Any], theirs: float, precision: float) -> tuple[float, float]:
    return theirs - (answer.sent + answer.received) / 2, precision + (answer.received - answer.sent) / 2
