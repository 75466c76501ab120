"""What is asked of a node's websocket, and what its refusals and cancellations mean.

The same texts in Tendermint 0.34 to CometBFT 1.x; refusals have code -32603, cancellations -32000.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from chainwatch.families.cometbft.consensus.events import Event, NewBlock, NewBlockHeader
from chainwatch.families.cometbft.frames import FrameError

# Every event of consensus has an o in its name; Tx, the one that is large and many, and NewEvidence have none.
# One subscription, because the node keeps the order of events only within one.
ALL_CONSENSUS = "tm.event CONTAINS 'o'"
EVIDENCE = "tm.event='NewEvidence'"
# Where that is not understood: with the evidence five, as many as a connection may have, the most useful first.
NARROW = ("tm.event='Vote'", "tm.event CONTAINS 'Round'", "tm.event='CompleteProposal'", "tm.event='NewBlock'")
INSTEAD = {ALL_CONSENSUS: NARROW, "tm.event CONTAINS 'Round'": ("tm.event='NewRound'",)}

# In a height that a node decides every subscription says something; two may be under way.
SILENT_HEIGHTS = 3

METHOD_NOT_FOUND = -32601


class Refusal(StrEnum):
    """Why a node does not subscribe us."""

    CLIENTS = "clients"  # max_subscription_clients are there already
    PER_CLIENT = "per_client"  # max_subscriptions_per_client, which counts for each connection
    ALREADY = "already"  # this connection has it: no refusal in truth
    QUERY = "query"  # it does not understand the query
    METHOD = "method"  # it has no subscriptions
    OTHER = "other"


class Cancellation(StrEnum):
    """Why a subscription ended: values of the label `reason`."""

    CAPACITY = "capacity"  # the node's buffer of the subscription was full
    SLOW_CLIENT = "slow_client"  # we did not read, or something in between did not
    EXIT = "exit"  # the node stops
    SILENCE = "silence"  # without a word
    REFUSED = "refused"  # it never began
    OTHER = "other"


_REFUSALS = {
    "max_subscription_clients": Refusal.CLIENTS,
    "max_subscriptions_per_client": Refusal.PER_CLIENT,
    "already subscribed": Refusal.ALREADY,
    "failed to parse query": Refusal.QUERY,
    "maximum query length exceeded": Refusal.QUERY,
}
_CANCELLATIONS = {
    "out of capacity": Cancellation.CAPACITY,
    "slow client": Cancellation.SLOW_CLIENT,
    "not pulling messages fast enough": Cancellation.SLOW_CLIENT,
    "exited": Cancellation.EXIT,
}

# What the person who reads the log may do.
REFUSED = {
    Refusal.CLIENTS: "Raise max_subscription_clients in its config.toml, or end other clients of its websocket",
    Refusal.PER_CLIENT: "Raise max_subscriptions_per_client in its config.toml; going on without",
    Refusal.QUERY: "Going on without",
    Refusal.METHOD: "Is this a CometBFT node's RPC port, or a proxy that does not pass subscriptions on?",
    Refusal.OTHER: "Going on without",
}
CANCELLED = {
    Cancellation.CAPACITY: "Its buffer was full: this exporter, or the way to it, was too slow for a burst;"
    " see experimental_subscription_buffer_size in its config.toml",
    Cancellation.SLOW_CLIENT: "This exporter, or the way to it, was too slow",
    Cancellation.OTHER: "See the node's log",
}


def refusal(error: FrameError) -> Refusal:
    """Why the answer to a subscription is no."""
    if error.code == METHOD_NOT_FOUND:
        return Refusal.METHOD
    return next((kind for text, kind in _REFUSALS.items() if text in error.data), Refusal.OTHER)


def cancellation(error: FrameError) -> Cancellation | None:
    """Why a subscription was ended; None where the error says no such thing. 0.34 spells it cancelled."""
    text = error.data or error.message
    if "cancelled" not in text and "canceled" not in text:
        return None
    return next((kind for words, kind in _CANCELLATIONS.items() if words in text), Cancellation.OTHER)


@dataclass(slots=True)
class Subscription:
    """One query on one connection."""

    query: str
    id: int
    asked: float  # monotonic seconds
    live: bool = False  # the node has agreed
    cancelled: float | None = None  # when it was cancelled last
    height: int = 0  # highest of its events
    heard: float = 0.0  # when the last of them came, in monotonic seconds

    @property
    def wide(self) -> bool:
        """Whether it is the one that tells everything."""
        return self.query == ALL_CONSENSUS


@dataclass(slots=True)
class Subscriptions:
    """Those of one connection, by id."""

    by_id: dict[int, Subscription] = field(default_factory=dict)
    _last_id: int = 0

    def add(self, query: str, now: float) -> Subscription:
        """A new one, that is still to be asked for."""
        self._last_id += 1
        added = self.by_id[self._last_id] = Subscription(query, self._last_id, now)
        return added

    def of(self, frame_id: int | str | None) -> Subscription | None:
        """Whose frame it is; events of 0.32 have an id such as `1#event`."""
        if isinstance(frame_id, str):
            number = frame_id.partition("#")[0]
            frame_id = int(number) if number.isdecimal() and len(number) < 10 else None
        return None if frame_id is None else self.by_id.get(frame_id)

    @property
    def pending(self) -> list[Subscription]:
        """Those that the node has not agreed to yet."""
        return [known for known in self.by_id.values() if not known.live]

    @property
    def open(self) -> bool:
        """Whether all that are left are agreed to, and tell of consensus."""
        return self.of_consensus and not self.pending

    @property
    def of_consensus(self) -> bool:
        """Whether any of them tells more than evidence."""
        return any(known.query != EVIDENCE for known in self.by_id.values())

    def silent(self, event: Event, since: float) -> Subscription | None:
        """One that used to speak and says nothing since then, as a block that another one tells of shows.

        Both are needed: on a fast chain one subscription may be heights ahead of another.
        """
        if not isinstance(event, NewBlock | NewBlockHeader):
            return None
        newest = height_of(event)
        for known in self.by_id.values():
            behind = known.query != EVIDENCE and 0 < known.height <= newest - SILENT_HEIGHTS
            if behind and known.live and known.heard <= since:
                return known
        return None


def height_of(event: Event) -> int:
    """The height that an event is about."""
    if isinstance(event, NewBlock):
        return event.block.header.height
    return event.header.height if isinstance(event, NewBlockHeader) else event.height
