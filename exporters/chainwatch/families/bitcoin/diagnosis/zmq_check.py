"""Is ZMQ built in, where does it publish, and can we hear it?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator

import zmq
from yarl import URL
from zmq.utils.monitor import recv_monitor_message

from chainwatch import errors
from chainwatch.exposition.report import Finding, fail, ok, warn
from chainwatch.families.bitcoin.diagnosis.node import Facts
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.zmq_feed import BLOCKS, Publisher, reachable

# A busy chain has several transactions a second; a quiet one may be silent for minutes, which proves nothing.
LISTEN_SECONDS = 3.0
LISTEN_TO = (*BLOCKS, "hashtx")
_PASTE = ["zmqpubsequence=tcp://127.0.0.1:28332", "zmqpubhashblock=tcp://127.0.0.1:28332"]
_WITHOUT = "Blocks are found by polling; what only ZMQ tells (transactions added, removed, replaced) is absent."


def examine(settings: BitcoinSettings, facts: Facts) -> Iterator[Finding]:
    """Yield whether the tracker will hear the node."""
    if not settings.zmq.enabled:
        yield ok("ZMQ", f"Switched off by zmq.enabled. {_WITHOUT}")
        return
    published = notifications(facts)
    if isinstance(published, errors.MethodNotFound):
        yield ok("ZMQ", f"Not built into this node, whatever its configuration says. {_WITHOUT}")
        return
    if isinstance(published, errors.NodeError) and settings.zmq.url is None:
        why = "the whitelist forbids the question" if isinstance(published, errors.Forbidden) else f"{published}"
        yield warn(
            "ZMQ",
            f"Where the node publishes is unknown: {why}. {_WITHOUT}",
            "Allow getzmqnotifications, or set zmq.url.",
        )
        return
    if isinstance(published, list):
        if not published:
            yield warn("ZMQ", f"Built in, but nothing is published. {_WITHOUT}", "Add to the node's file:", _PASTE)
            return
        yield _topics(published)
    for address in _addresses(settings, published):
        yield from _connect(settings, address)


def notifications(facts: Facts) -> list[Publisher] | errors.NodeError:
    """What the node publishes, by whichever of the two names its RPC method has."""
    core, sv = facts.answers["getzmqnotifications"], facts.answers["activezmqnotifications"]
    if isinstance(core, errors.NodeError) and not isinstance(sv, errors.NodeError):
        core = sv
    if isinstance(core, errors.NodeError):
        return core
    entries: list[Publisher] = core.result
    return entries


def _topics(published: list[Publisher]) -> Finding:
    topics = sorted({entry.topic for entry in published})
    text = f"The node publishes {', '.join(topics)}."
    if not set(BLOCKS) & set(topics):
        return warn("ZMQ", f"{text} None of them tells of blocks.", "Add to the node's file:", _PASTE)
    return ok("ZMQ", text)


def _addresses(settings: BitcoinSettings, published: list[Publisher] | errors.NodeError) -> list[str]:
    if settings.zmq.url is not None:
        return [settings.zmq.url]
    if isinstance(published, errors.NodeError):
        return []
    return list(dict.fromkeys(reachable(entry.address, settings) for entry in published if entry.topic in BLOCKS))


def _connect(settings: BitcoinSettings, address: str) -> Iterator[Finding]:
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if settings.zmq.url is None and _elsewhere(settings) and _loopback(host):
        yield fail(
            "ZMQ",
            f"{address} is the node's own loopback address, and the node is on another machine.",
            "Publish on an address that this machine can reach (ZMQ has no password: a private network only), or run "
            "chainwatch beside the node; or set zmq.enabled: false.",
        )
        return
    heard = listen(address, min(settings.rpc.timeout, LISTEN_SECONDS))
    if heard is None:
        yield fail(
            "ZMQ",
            f"Nothing that speaks ZMQ answers at {address}.",
            "Does the node listen there (its debug.log says so at start)? A firewall? An old address in zmq.url?",
        )
    elif heard:
        yield ok("ZMQ", f"Connected to {address}; a message arrived.")
    else:
        yield ok("ZMQ", f"Connected to {address}; no message in {LISTEN_SECONDS:g} s, as is usual on a quiet chain.")


def listen(address: str, seconds: float) -> bool | None:
    """Connect; return whether a message came within `seconds`, None where there is no publisher."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        subscriber.maxmsgsize = 1 << 22
        monitor = subscriber.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        try:
            for topic in LISTEN_TO:
                subscriber.subscribe(topic)
            try:
                subscriber.connect(address)
            except zmq.ZMQError:
                return None
            deadline = time.monotonic() + seconds
            if not monitor.poll(int(seconds * 1000)):
                return None
            recv_monitor_message(monitor)
            return bool(subscriber.poll(max(0, int((deadline - time.monotonic()) * 1000))))
        finally:
            subscriber.disable_monitor()
            monitor.close(linger=0)


def _elsewhere(settings: BitcoinSettings) -> bool:
    host = URL(settings.rpc.url).host or ""
    return host != "localhost" and not _loopback(host)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
