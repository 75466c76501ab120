"""How long-lived streams fare, exported alike in every family."""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import Metric

from chainwatch.exposition import fleet


class Stream(Protocol):
    """What is known about one stream; see `chainwatch.streams.health`."""

    name: str
    last_event_timestamp: float | None
    gaps: int

    @property
    def connected(self) -> bool:
        """Whether it is open and tells what there is to tell."""


def stream_metrics(streams: Iterable[Stream]) -> Iterable[Metric]:
    """Return the families chainwatch_stream_* for these streams."""
    known = list(streams)
    yield from fleet.STREAM_CONNECTED.samples({(stream.name,): stream.connected for stream in known})
    yield from fleet.STREAM_LAST_EVENT.samples({(stream.name,): stream.last_event_timestamp for stream in known})
    yield from fleet.STREAM_GAPS.samples({(stream.name,): stream.gaps for stream in known})
