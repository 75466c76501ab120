"""Totals over the blocks that were connected, from getblockstats of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.errors import MethodNotFound, NodeError, RpcError
from chainwatch.exposition.metrics import LiveCounter, counter
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.units import satoshis

log = logging.getLogger(__name__)

TRANSACTIONS = counter(
    "bitcoin_connected_transactions_total",
    "Transactions in connected blocks, coinbases among them, from getblockstats.txs; not counted while catching up.",
)
BYTES = counter(
    "bitcoin_connected_bytes_total",
    "Size of the transactions in connected blocks without the coinbases, from getblockstats.total_size.",
)
WEIGHT = counter(
    "bitcoin_connected_weight_total",
    "Weight of the transactions in connected blocks without the coinbases, from getblockstats.total_weight.",
)
FEES = counter("bitcoin_connected_fees_satoshis_total", "Fees paid in connected blocks, from getblockstats.totalfee.")

# What is asked for, most first. Bitcoin SV has no weight, and no fees without -txindex, and refuses the whole question.
CHOICES: Sequence[tuple[str, ...]] = (
    ("txs", "total_size", "total_weight", "totalfee"),
    ("txs", "total_size", "totalfee"),
    ("txs", "total_size"),
)
INVALID_PARAMETER = -8
QUEUE = 100


class BlockStats(Struct):
    """The part of getblockstats that is asked for; fees in satoshis, on Bitcoin SV in coins (with a decimal point)."""

    txs: int | None = None
    total_size: int | None = None
    total_weight: int | None = None
    totalfee: int | float | None = None

    @property
    def fees(self) -> float | None:
        """Fees in satoshis."""
        return satoshis(self.totalfee) if isinstance(self.totalfee, float) else self.totalfee


class BlockTotals:
    """Asks for each block once, apart from the tracker, which it must not slow down.

    A block that the node cannot tell about (pruned, no undo data) is missing from the totals. What the node's version
    does not report has no counter.
    """

    def __init__(self, rpc: BitcoinRpc) -> None:
        self._rpc = rpc
        self._choices = CHOICES
        self._waiting: asyncio.Queue[tuple[str, bool]] = asyncio.Queue(QUEUE)
        self._totals: dict[str, LiveCounter] = {}

    def learn(self, block_hash: str) -> None:
        """Ask about a block that is not counted, to learn which counters there are and start them at 0."""
        self._put(block_hash, False)

    def count(self, block_hash: str) -> None:
        """Add a connected block."""
        self._put(block_hash, True)

    def _put(self, block_hash: str, counted: bool) -> None:
        if self._waiting.full():
            log.debug("getblockstats is slower than blocks arrive; block %s is left out", block_hash)
        else:
            self._waiting.put_nowait((block_hash, counted))

    async def run(self) -> None:
        """Work the queue off until cancelled."""
        while True:
            block_hash, counted = await self._waiting.get()
            try:
                self._add(await self._ask(block_hash), counted)
            except NodeError as error:
                log.debug("block %s is missing from the totals: %s", block_hash, error)

    async def _ask(self, block_hash: str) -> BlockStats:
        while True:
            try:
                return await self._rpc.call("getblockstats", block_hash, self._choices[0], into=BlockStats)
            except MethodNotFound:
                raise
            except RpcError as error:
                if error.code != INVALID_PARAMETER or len(self._choices) == 1:
                    raise
            self._choices = self._choices[1:]

    def _add(self, stats: BlockStats, counted: bool) -> None:
        for definition, value in (
            (TRANSACTIONS, stats.txs),
            (BYTES, stats.total_size),
            (WEIGHT, stats.total_weight),
            (FEES, stats.fees),
        ):
            if value is None:
                continue
            if definition.name not in self._totals:
                self._totals[definition.name] = definition.live()
            if counted:
                self._totals[definition.name].inc(value)

    def collect(self) -> Iterable[Metric]:
        """Return the families of the totals that this node can report."""
        for live in self._totals.values():
            yield from live.collect()
