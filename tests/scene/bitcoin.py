"""Bitcoin-family nodes in all their states: two litecoind that are peers, and a Bitcoin SV node with ZMQ."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.lab import BitcoinSV, Exporter, Litecoind, Node, P2PClient, join, part, same_tip
from tests.lab.wire import NOBODY, Input, build_block, transaction
from tests.live.site import running
from tests.scene.stand_ins import Core31

DEBUG = ["mempool", "mempoolrej", "net", "validation", "cmpctblock", "bench", "rpc"]
COMMON = {"debug": DEBUG, "logtimemicros": "1", "acceptnonstdtxn": "0"}
EXTRAS: dict[str, str | bool | None] = {"collector.block-template": True, "collector.utxo-set": True}
GUESTS = ("/Satoshi:27.0.0/", "/Satoshi:29.1.0/", "/LitecoinCore:0.21.4/", "/btcwire:0.5.0/btcd:0.24.2/", "/x\n/")
COINS = 300  # outputs that payments can spend without waiting for one another
SUBSIDY = 50 * 10**8
BLOCKS = 150  # from 144 on, regtest has a deployment that blocks signal for
DOWN_SECONDS = 12.0  # longer than the page for a dead node waits


class Bitcoin:
    """The nodes, and an exporter beside each. `beat` is what happens every few seconds, `faults` what goes wrong."""

    def __init__(self, folder: Path, *, stand_ins: bool = False) -> None:
        """With `stand_ins` there is a Bitcoin Core 31 too, of recorded answers."""
        self.a = Litecoind(
            folder / "node-a",
            "a",
            options={**COMMON, "txindex": "1", "blockfilterindex": "1", "maxuploadtarget": "900"},
        )
        self.b = Litecoind(folder / "node-b", "b", options={**COMMON, "prune": "550"})
        self.sv = BitcoinSV(folder / "node-sv", "sv", options={"debug": ["mempool", "txnval", "net", "bench", "rpc"]})
        self.nodes: dict[str, Node] = {"litecoin-a": self.a, "litecoin-b": self.b, "bitcoinsv": self.sv}
        self.exporters = {
            name: Exporter(
                folder / f"exporter-{name}",
                node,
                settings={**EXTRAS, "log.file": str(node.log_file), "peers.inbound-slots": "114"},
            )
            for name, node in self.nodes.items()
        }
        self._core = Core31() if stand_ins else None
        if self._core is not None:
            self.exporters["core31"] = Exporter(folder / "exporter-core31", self._core, settings=EXTRAS)
        self._guests: list[P2PClient] = []
        self._lies = 0
        self._turn = 0

    @staticmethod
    def chain_of(name: str) -> str:
        """The label `chain` of a node."""
        return "bitcoinsv-regtest" if name == "bitcoinsv" else "litecoin-regtest"

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Run everything, with money to spend and blocks to stand on."""
        with running(*self.nodes.values(), *filter(None, [self._core])):
            self.a.connect(self.b)
            self.a.fund(BLOCKS)
            self.sv.fund(103)
            same_tip(self.a, self.b)
            self._split_coins()
            self.b.restart()  # which has it write its coins to disk, so that their size is known
            join(self.a, self.b)
            with running(*self.exporters.values()), contextlib.ExitStack() as stack:
                self._guests = [stack.enter_context(P2PClient(self.a, agent)) for agent in GUESTS]
                yield

    def _split_coins(self) -> None:
        """Make many coins of few: payments then need no unconfirmed parents, and fee estimates count them."""
        for _ in range(COINS // 100):
            self.a.rpc("sendmany", "", {self.a.new_address(): "0.5" for _ in range(100)})
        self._mine(self.a)

    def _mine(self, node: Node) -> None:
        node.mine()
        same_tip(self.a, self.b)

    # What goes on

    def beat(self) -> None:
        """On most beats a block by one or the other, with what was paid since; then payments at several feerates."""
        self._turn += 1
        if self._core is not None:
            self._core.beat()
        if self._turn % 3:
            self._mine((self.a, self.b)[self._turn % 2])
        self.sv.mine()
        for number in range(4):
            feerate = Decimal(2 + 4 * ((self._turn + number) % 8)) / 1000
            self.a.rpc("settxfee", str(feerate))
            self.a.send("0.01")
        for _ in range(2):
            self.sv.send("0.01")
        for guest in self._guests:
            guest.sync()

    # What goes wrong

    @property
    def faults(self) -> Sequence[Callable[[], None]]:
        """In the order of a story that is told once."""
        return (
            self.rejects,
            self.reorganisation,
            self.invalid_block,
            self.misbehaviour,
            self.conflict,
            self.node_stops,
        )

    def rejects(self) -> None:
        """Transactions that a node refuses: for no fee, as dust, for what they spend, and against consensus."""
        for fee, value in ((1, None), (20_000, 1)):
            raw = self._payment(fee, value)
            with P2PClient(self.a) as peer:
                peer.send_transaction(raw)
                peer.sync()
        self._lies += 1
        for node in (self.a, self.sv):
            with P2PClient(node) as peer:
                peer.send_transaction(transaction([Input(f"{self._lies:064x}", 0)], [(-1, NOBODY)]))
                peer.wait_closed()

    def _payment(self, fee: int, value: int | None) -> bytes:
        """A signed transaction with this fee in satoshis; `value` makes an output of so few."""
        coin = self.a.rpc("listunspent", 1)[0]
        rest = int(coin["amount"] * 10**8) - fee - (value or 0)
        outputs: list[dict[str, Any]] = [{self.a.new_address(): f"{Decimal(rest) / 10**8:.8f}"}]
        if value:
            outputs.append({self.a.new_address(): f"{Decimal(value) / 10**8:.8f}"})
        spent = [{"txid": coin["txid"], "vout": coin["vout"]}]
        raw = self.a.rpc("createrawtransaction", spent, outputs)
        return bytes.fromhex(self.a.rpc("signrawtransactionwithwallet", raw)["hex"])

    def reorganisation(self) -> None:
        """The two part for a while, and one gives up two blocks for the other's three."""
        loser, winner = (self.a, self.b) if self._turn % 2 else (self.b, self.a)
        part(self.a, self.b)
        loser.mine(2)
        winner.mine(3)
        time.sleep(4)  # Prometheus sees both sides
        join(self.a, self.b)

    def invalid_block(self) -> None:
        """A peer sends a block that pays its miner too much."""
        greedy = build_block(self.a, coinbase_satoshis=SUBSIDY + 1)
        with P2PClient(self.a) as peer:
            peer.send_block(greedy.raw)
            peer.wait_closed()
        self._mine(self.a)

    def misbehaviour(self) -> None:
        """A peer sends a header without work."""
        with P2PClient(self.b) as peer:
            peer.send_headers([build_block(self.b, proven=False).header])
            peer.wait_closed()

    def conflict(self) -> None:
        """A payment that the mempool holds is mined differently."""
        coin = self.sv.rpc("listunspent", 1)[0]
        amount = int(coin["amount"] * 10**8)
        raws = []
        for fee in (1000, 2000):
            outputs = {self.sv.new_address(): f"{Decimal(amount - fee) / 10**8:.8f}"}
            raw = self.sv.rpc("createrawtransaction", [{"txid": coin["txid"], "vout": coin["vout"]}], outputs)
            raws.append(bytes.fromhex(self.sv.rpc("signrawtransaction", raw)["hex"]))
        block = build_block(self.sv, transactions=[raws[1]])
        with P2PClient(self.sv) as peer:
            peer.send_transaction(raws[0])
            peer.sync()
            peer.send_block(block.raw)
            peer.sync()

    def node_stops(self) -> None:
        """One of them dies, and comes back."""
        self.b.kill()
        time.sleep(DOWN_SECONDS)
        self.b.start()
        join(self.a, self.b)
