"""What the live view shows of: the recording of a halt, fed into a ledger up to a moment of the test's choice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from chainwatch.families.cometbft.consensus import events
from chainwatch.families.cometbft.consensus.events import Event
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.model import (
    Condition,
    NodeCondition,
    Settled,
    Validator,
    ValidatorSet,
    Verdict,
)
from chainwatch.families.cometbft.frames import decode_frame
from chainwatch.families.cometbft.schema import ConsensusState
from chainwatch.families.cometbft.tracker.consensus_state import Standing, standing
from chainwatch.families.cometbft.view import snapshot
from chainwatch.families.cometbft.view.document import Snapshot
from chainwatch.families.cometbft.view.history import History

HALT = Path(__file__).parents[2] / "fixtures" / "cometbft" / "halt"
NODE0 = "63D55B36139650643B22251A44066B2215A15318"
NODE1 = "87FA79E10BE771C2AE616A99D9461D471E3C176A"
NODE2 = "A7D7E36606085B53D5AB5F6FD3BAAC6A51D11B45"
NODE3 = "1DA39A678B60D13FEF148D4B7CCA44182112716E"
# In index order at equal powers.
MEMBERS = (NODE3, NODE0, NODE1, NODE2)
NAMES = {NODE0: "node0", NODE1: "node1", NODE2: "node2", NODE3: "node3"}
# The last event before node2 and node3 stopped, and the first one after they went on.
HALTED, WENT_ON = 1795347420.239942, 1795347445.333451
NOW = WENT_ON - 1


def members(hash_: str = "") -> ValidatorSet:
    return ValidatorSet(hash_, tuple(Validator(address, 10) for address in MEMBERS))


def frames() -> Iterator[tuple[float, Event]]:
    """The recorded events of the full node, each with the Unix time at which it was read."""
    for line in (HALT / "full.jsonl").read_text().splitlines():
        entry = json.loads(line)
        result = decode_frame(entry["raw"]).result if "raw" in entry else None
        event = events.decode(result) if result and result.data else None
        if event is not None:
            yield entry["t"], event


class Scene:
    """A tracker as the view sees it."""

    def __init__(self) -> None:
        self.history = History()
        self.ledger = Ledger(self._settle, lambda _: None)
        self.verdict = Verdict(Condition.RUNNING, 0.0)
        self.standing: Standing | None = None
        self.standing_set: ValidatorSet | None = None
        self.names: Mapping[str, str] = {NODE0: "node0"}
        self.called = dict(NAMES)
        self.chain_id: str | None = "chainwatch-lab"
        self.tip: int | None = None
        self.node = NodeCondition(answering=True, catching_up=False, peers=4)

    def _settle(self, settled: Settled) -> None:
        self.history.count(settled)

    def condition(self) -> NodeCondition:
        return self.node

    def play(self, *, after: float = 0.0, until: float) -> None:
        """Tell the ledger what the full node told in this time."""
        for seen, event in frames():
            if after < seen <= until:
                self.ledger.take(event, seen)
        for wanted in list(self.ledger.wanted_sets()):
            self.ledger.learn(members(wanted))

    def take(self, now: float = NOW) -> Snapshot:
        return snapshot.take(self, self.history, self.called.get, now)

    def halt(self) -> None:
        """As the tracker's verdict is after it asked the node."""
        self.standing = asked()
        assert self.standing.prevotes is not None
        self.tip = 5
        missing = self.standing.prevotes.missing(members())
        self.verdict = Verdict(Condition.NO_QUORUM, HALTED, 6, 0, "Prevote", 0.5, 0.0, missing)


def asked(**changes: Any) -> Standing:
    """Where consensus stood by the node's own /consensus_state, with fields of its round_state changed."""
    answer = json.loads((HALT / "consensus_state_halt.json").read_text())["result"]
    answer["round_state"] |= changes
    state = msgspec.convert(answer, ConsensusState, strict=False).round_state
    read = standing(state.position, state.start_time, state.height_vote_set or [])
    assert read is not None
    return read


def halted() -> Scene:
    """A quarter of a minute into the halt."""
    scene = Scene()
    scene.play(until=HALTED)
    scene.halt()
    return scene
