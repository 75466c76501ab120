"""The frames of a CometBFT websocket: acknowledgements, refusals, cancellations, and events still to be decoded.

One shape for Tendermint 0.34 to CometBFT 1.x. The name of an event stands only in `result.events["tm.event"]`: eight of
them share one `data.type`.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct, field

# Whoever answers on the port may send anything, nested deeper than the decoder goes too.
NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class FrameError(Struct, frozen=True):
    """The `error` member: of a refusal, or of a subscription that the node ended."""

    code: int = 0
    message: str = ""
    data: str = ""


class Names(Struct, frozen=True):
    """The `events` member; of its keys only the event's own name is read."""

    names: list[str] = field(name="tm.event", default_factory=list)


class Data(Struct, frozen=True):
    """The `data` member; `value` is decoded by whoever knows the event's name."""

    type: str = ""
    value: Raw = Raw(b"null")


class Result(Struct, frozen=True):
    """The `result` member: of an event, or empty in the acknowledgement of a subscription."""

    query: str = ""
    data: Data | None = None
    events: Names = Names()

    @property
    def event(self) -> str:
        """Name of the event, such as `NewRoundStep`; empty in an acknowledgement."""
        return self.events.names[0] if self.events.names else ""


class Frame(Struct, frozen=True):
    """One text frame from the node. `id` is that of the subscription; None where the node could not read a request."""

    id: int | str | None = None
    result: Result | None = None
    error: FrameError | None = None


decode_frame = msgspec.json.Decoder(Frame).decode
