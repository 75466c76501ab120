"""Replays recordings of a real net into a ledger, and reads the truth that they come with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from chainwatch.families.cometbft.consensus import events
from chainwatch.families.cometbft.consensus.events import Event
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.model import DoubleSign, Settled, Validator, ValidatorSet
from chainwatch.families.cometbft.frames import decode_frame

from .paths import recording


class Told(NamedTuple):
    """An event as a vantage point told it, or None where its connection ended."""

    seen: float
    vantage: int
    event: Event | None
    connection: str = ""


@dataclass(frozen=True)
class TrueHeight:
    """What /block, /commit and /validators said of a height afterwards."""

    height: int
    hash: str
    round: int
    canonical: bool
    proposer: str  # of the round that won
    members: tuple[Validator, ...]
    flags: dict[str, int]  # by address
    absent: list[str]
    nil: list[str]
    transactions: int
    evidence: list[dict[str, Any]]


@dataclass(frozen=True)
class Truth:
    """The truth of a scenario."""

    chain_id: str
    addresses: dict[str, str]  # by the node's name
    heights: dict[int, TrueHeight]

    @property
    def canonical(self) -> list[TrueHeight]:
        """The heights that can be judged: the newest one is only its node's view."""
        return [height for height in self.heights.values() if height.canonical]


@dataclass
class Replayed:
    """A ledger after a replay, and what it told."""

    ledger: Ledger
    settled: dict[int, Settled] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    double_signs: list[DoubleSign] = field(default_factory=list)
    given_up: int = 0


def truth(scenario: str) -> Truth:
    """Return the truth of a scenario."""
    said = json.loads(recording(f"cometbft/{scenario}/truth.json").read_text())
    addresses: dict[str, str] = said["addresses"]
    heights = {told["height"]: _true_height(told, addresses) for told in said["heights"]}
    return Truth(said["chain_id"], addresses, heights)


def _true_height(told: dict[str, Any], addresses: dict[str, str]) -> TrueHeight:
    members = tuple(Validator(addresses[name], power) for name, power in told["validators"])
    return TrueHeight(
        told["height"],
        told["hash"],
        told["round"],
        told["canonical"],
        addresses[told["proposer"]],
        members,
        {member.address: flag for member, flag in zip(members, told["flags"], strict=True)},
        [addresses[name] for name in told["absent"]],
        [addresses[name] for name in told["nil"]],
        told["txs"],
        told["evidence"],
    )


def told(scenario: str, *files: str) -> list[Told]:
    """Return the events of these files in order of time; the first file is the watched node's."""
    paths = [recording(f"cometbft/{scenario}/{name}.jsonl") for name in files]
    lines = [told for vantage, path in enumerate(paths) for told in _read(path, vantage)]
    return sorted(lines, key=lambda told: told.seen)


def _read(path: Path, vantage: int) -> Iterator[Told]:
    with path.open() as lines:
        for line in map(json.loads, lines):
            if "closed" in line:
                yield Told(line["t"], vantage, None, line["c"])
            frame = decode_frame(line["raw"]) if "raw" in line else None
            event = events.decode(frame.result) if frame and frame.result else None
            if event is not None:
                yield Told(line["t"], vantage, event, line["c"])


def sets_of(truth: Truth) -> Callable[[str, int], ValidatorSet | None]:
    """Return what answers for /validators: the set of a height, under the hash that its header gave."""

    def answer(name: str, height: int) -> ValidatorSet | None:
        known = truth.heights.get(height)
        return ValidatorSet(name, known.members) if known else None

    return answer


def new(**options: Any) -> Replayed:
    """Return a ledger, and what writes down all that it tells."""

    def gave_up(heights: int) -> None:
        replayed.given_up += heights

    def settle(settled: Settled) -> None:
        replayed.settled[settled.block.height] = settled
        replayed.order.append(settled.block.height)

    def double_sign(found: DoubleSign) -> None:
        replayed.double_signs.append(found)

    replayed = Replayed(Ledger(settle, double_sign, gave_up=gave_up, **options))
    return replayed


def feed(replayed: Replayed, lines: Iterable[Told], sets: Callable[[str, int], ValidatorSet | None]) -> Replayed:
    """Give events to the ledger, and the sets that it asks for, at once."""
    for line in lines:
        if line.event is None:
            replayed.ledger.interrupted(line.vantage)
            continue
        replayed.ledger.take(line.event, line.seen, line.vantage)
        serve(replayed.ledger, sets)
    return replayed


def serve(ledger: Ledger, sets: Callable[[str, int], ValidatorSet | None]) -> None:
    """Give the ledger the sets that it asks for."""
    for name, height in ledger.wanted_sets().items():
        if validators := sets(name, height):
            ledger.learn(validators)


def replay(scenario: str, *files: str, **options: Any) -> Replayed:
    """Replay the files of a scenario, `full` alone if none is named."""
    known: Sequence[str] = files or ("full",)
    return feed(new(**options), told(scenario, *known), sets_of(truth(scenario)))
