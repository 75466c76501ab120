"""A CometBFT chain of four validators, two of them ours, and a full node; exporters at the full node and at ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from tests.lab import BRISK, CometbftNet, CometbftNode, Exporter, Watched
from tests.lab.cometbft import Settings
from tests.live.cometbft_site import frozen
from tests.live.site import running
from tests.scene.stand_ins import Application

# The mempool forgets soon which transactions it had: powers change again and again to the same numbers.
LIVELY: Settings = {**BRISK, "consensus.timeout_commit": "600ms", "mempool.cache_size": "40"}
NAMES = ("alice", "bob", "ours-1", "ours-2")
POWERS = (100, 90, 80, 70)
CHAIN = "chainwatch-scene"


class Cometbft:
    """The net and the exporters. `beat` is what happens every few seconds, `faults` what goes wrong."""

    def __init__(self, folder: Path, *, stand_ins: bool = False) -> None:
        """With `stand_ins` one exporter finds the Cosmos SDK's modules behind its node."""
        self.net = CometbftNet(folder / "net", chain_id=CHAIN, powers=POWERS, settings=LIVELY)
        names = folder / "validators.yml"
        self._addresses = dict(zip(NAMES, (node.address for node in self.net.validators), strict=True))
        names.write_text(yaml.safe_dump({address: name for name, address in self._addresses.items()}))
        own = ",".join(f"{self._addresses[name]}={name}" for name in NAMES if name.startswith("ours"))
        settings: dict[str, str | bool | None] = {"validators.own": own, "validators.file": str(names)}
        self.nodes: dict[str, CometbftNode] = {
            "cometbft-full": self.net.full,
            "cometbft-ours-2": self.net.validators[3],
        }
        self._application = Application(self.net, self.net.validators[3]) if stand_ins else None
        watched: dict[str, Watched] = {**self.nodes}
        if self._application is not None:
            watched["cometbft-ours-2"] = self._application
        self.exporters = {
            name: Exporter(folder / f"exporter-{name}", node, settings=settings) for name, node in watched.items()
        }
        self._turn = 0

    @staticmethod
    def chain_of(_: str) -> str:
        """The label `chain` of a node."""
        return CHAIN

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Run everything, with a chain that has begun."""
        with self.net:
            self.net.wait_height(2)
            with self._application or contextlib.nullcontext(), running(*self.exporters.values()):
                yield

    # What goes on

    def beat(self) -> None:
        """A few transactions."""
        self._turn += 1
        if self._application is not None:
            self._application.beat()
        for number in range(3):
            self.net.send(f"beat{self._turn}-{number}=done")

    # What goes wrong

    @property
    def faults(self) -> Sequence[Callable[[], None]]:
        """In the order of a story that is told once."""
        return (self.ours_is_silent, self.power_changes, self.chain_halts, self.double_sign)

    def ours_is_silent(self) -> None:
        """One of ours freezes: it misses its votes, and its turns to propose cost a round."""
        with frozen(self.net.validators[2]):
            time.sleep(10)

    def chain_halts(self) -> None:
        """Half of the power freezes."""
        with frozen(*self.net.validators[:2]):
            time.sleep(12)
        self.net.wait_blocks(2)

    def power_changes(self) -> None:
        """A validator loses power and gets it back; the full node joins the set and leaves it."""
        for validator, power in ((self.net.validators[1], 85), (self.net.full, 1)):
            self.net.set_power(validator, power)
        self.net.wait_blocks(4)
        for validator, power in ((self.net.validators[1], 90), (self.net.full, 0)):
            self.net.set_power(validator, power)

    def double_sign(self) -> None:
        """A stranger's key runs twice."""
        self.net.double_sign(self.net.validators[0])
