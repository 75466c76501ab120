"""What is known about one long-lived stream of events: is it there, when did it last speak, what did it lose."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class StreamHealth:
    """Plain state of one stream, written by whoever reads it and exported as chainwatch_stream_*{stream=name}."""

    name: str
    is_open: bool = False
    deaf: bool = False  # it said nothing although there was something to say
    last_event_timestamp: float | None = None  # Unix seconds; None until the first event
    gaps: int = 0  # times that events were, or may have been, lost

    @property
    def connected(self) -> bool:
        """Whether it is open and, as far as is known, tells what there is to tell."""
        return self.is_open and not self.deaf

    def up(self) -> None:
        """Note that the stream is open."""
        self.is_open = True

    def down(self) -> None:
        """Note that the stream is closed, or cannot be opened."""
        self.is_open = False

    def silent(self) -> None:
        """Note that the stream missed something: it counts as lost, however open, until something arrives."""
        self.deaf = True

    def event(self, now: float | None = None) -> None:
        """Note that something arrived, now unless another Unix time is given."""
        self.last_event_timestamp = time.time() if now is None else now
        self.deaf = False

    def gap(self) -> None:
        """Note that events were lost, or may have been."""
        self.gaps += 1
