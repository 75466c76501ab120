"""Where the watched node's consensus stands, from its events and, where those are missing, from its answers."""

from __future__ import annotations

from chainwatch.families.cometbft.consensus.events import Event, NewBlock, NewBlockHeader, NewRound, RoundState
from chainwatch.families.cometbft.tracker.consensus_state import Standing

PREFIX = "RoundStep"
# Steps with which a height begins.
BEGINNING = ("NewHeight", "NewRound")


class Pulse:
    """Height, round and step, and when they last moved. Times are Unix seconds.

    Votes are no movement: a chain that gathers them for ever stands still.
    """

    def __init__(self, now: float) -> None:
        self.height = 0  # that is being decided; 0 when nothing is known
        self.round: int | None = None
        self.step: str | None = None
        self.height_started: float | None = None
        self.applied = 0  # newest block that was applied
        self._stored = 0
        self.moved = now
        self.alive = False  # whether it moved since the node was first asked, or did not answer
        self.away = False
        self.heard = 0  # highest height that any event of the stream named

    def take(self, event: Event, seen: float) -> None:
        """An event of the watched node's stream."""
        if isinstance(event, NewRound):
            self.heard = max(self.heard, event.height)
            self._stands(event.height, event.round, "NewRound", seen)
        elif isinstance(event, RoundState):
            self.heard = max(self.heard, event.height)
            if event.name == "NewRoundStep":
                self._stands(event.height, event.round, event.step.removeprefix(PREFIX), seen)
        elif isinstance(event, NewBlock | NewBlockHeader):
            header = event.block.header if isinstance(event, NewBlock) else event.header
            self.heard = max(self.heard, header.height)
            self.block(header.height, seen)

    def block(self, height: int, seen: float) -> None:
        """A block of this height is there."""
        if height <= self.applied:
            return
        self.applied, self.moved, self.alive = height, seen, True
        if self.height <= height:
            # Block sync tells no step; the next height is what the node works at now.
            self.height, self.round, self.step, self.height_started = height + 1, None, None, None

    def grew(self, height: int, at: float) -> None:
        """An answer to /status; its height may be of a block that is stored and not applied."""
        if height > self._stored > 0:
            self.moved, self.alive = at, True
        self._stored = max(self._stored, height)

    def looked(self, standing: Standing, at: float) -> None:
        """An answer to /consensus_state; where it stood before is needed to call that a movement."""
        moved = standing.height > self.height > 0 or (
            standing.height == self.height
            and self.round is not None
            and (standing.round, standing.step) != (self.round, self.step)
        )
        began = self.height_started if standing.height == self.height else None
        self._stands(standing.height, standing.round, standing.step, at if moved else None)
        if self.height == standing.height:
            self.height_started = began or standing.started

    def stopped(self) -> None:
        """The node does not answer."""
        self.away, self.alive = True, False

    def returned(self, at: float) -> None:
        """It answers again, and is given time to move."""
        self.away, self.moved = False, at

    def lost(self) -> None:
        """Events were lost: round and step are not known before the next one."""
        self.round = self.step = None

    def fell(self, height: int) -> None:
        """The node has no block above this one, whatever was believed: where consensus stands is not known."""
        self.applied, self._stored = min(self.applied, height), height
        self.height, self.round, self.step, self.height_started = 0, None, None, None
        self.heard = min(self.heard, height + 1)

    def _stands(self, height: int, number: int, step: str, moved: float | None) -> None:
        if height < self.height or (height == self.height and number < (self.round or 0)):
            return  # late
        if height > self.height:
            self.height_started = None
        if self.height_started is None and number == 0 and step in BEGINNING:
            self.height_started = moved
        if moved is not None and (height, number, step) != (self.height, self.round, self.step):
            self.moved, self.alive = moved, True
        self.height, self.round, self.step = height, number, step
