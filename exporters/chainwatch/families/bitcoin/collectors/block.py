"""What the best block holds, from getblockstats."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.errors import RpcError, Unsupported
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.units import satoshis

TRANSACTIONS = gauge(
    "bitcoin_block_transactions", "Transactions in the best block with its coinbase, from getblockstats.txs."
)
SIZE = gauge(
    "bitcoin_block_size_bytes",
    "Size of the best block's transactions without header and coinbase, from getblockstats.total_size.",
)
WEIGHT = gauge(
    "bitcoin_block_weight",
    "Weight of the best block's transactions without header and coinbase, from getblockstats.total_weight.",
)
INPUTS = gauge("bitcoin_block_inputs", "Outputs that the best block spends, from getblockstats.ins.")
OUTPUTS = gauge("bitcoin_block_outputs", "Outputs that the best block makes, from getblockstats.outs.")
FEES = gauge("bitcoin_block_fees_satoshis", "Fees in the best block, from getblockstats.totalfee.")
SUBSIDY = gauge("bitcoin_block_subsidy_satoshis", "New coins in the best block, from getblockstats.subsidy.")
FEERATE = gauge(
    "bitcoin_block_feerate_satoshis_per_vbyte",
    "Feerates in the best block, percentiles by weight, from getblockstats.feerate_percentiles, minfeerate and "
    "maxfeerate; absent for a block that holds only its coinbase.",
    labels=("stat",),
)
UTXO_CHANGE = gauge(
    "bitcoin_block_utxo_change",
    "Unspent outputs that the best block adds, less those it spends, from getblockstats.utxo_increase.",
)
FEERATE_STATS = ("min", "p10", "p25", "median", "p75", "p90", "max")
# All that Bitcoin SV can tell without -txindex; other nodes do not need it.
WITHOUT_TXINDEX = ["ins", "outs", "subsidy", "total_size", "txs", "utxo_increase"]
Amount = int | float


class BlockStats(Struct):
    """The answer of getblockstats; amounts in satoshis (whole) or, in Bitcoin SV, in coins (with a fraction)."""

    txs: int
    total_size: int
    ins: int
    outs: int
    subsidy: Amount
    utxo_increase: int
    totalfee: Amount | None = None
    total_weight: int | None = None  # not in Bitcoin SV
    # Satoshis per virtual byte; Bitcoin SV has other statistics.
    feerate_percentiles: tuple[float, float, float, float, float] | None = None
    minfeerate: float | None = None
    maxfeerate: float | None = None


@BITCOIN.register("block")
class BlockCollector(Collector[BitcoinNode]):
    """The best block: transactions, size, fees, inputs and outputs."""

    def __init__(self, node: BitcoinNode) -> None:
        super().__init__(node)
        self._hash = ""
        self._stats: BlockStats | None = None
        self._selected: tuple[list[str], ...] = ()

    async def collect(self) -> Iterable[Metric]:
        """Ask getblockchaininfo; and getblockstats once for each best block."""
        info = await self.node.blockchain_info()
        if info.blocks == 0:
            return []  # the node keeps no statistics of the first block
        if self._stats is None or info.bestblockhash != self._hash:
            self._stats = await self._ask(info.bestblockhash)
            self._hash = info.bestblockhash
        stats = self._stats
        return [
            *TRANSACTIONS.sample(stats.txs),
            *SIZE.sample(stats.total_size),
            *WEIGHT.sample(stats.total_weight),
            *INPUTS.sample(stats.ins),
            *OUTPUTS.sample(stats.outs),
            *FEES.sample(_in_satoshis(stats.totalfee)),
            *SUBSIDY.sample(_in_satoshis(stats.subsidy)),
            *FEERATE.samples(_feerates(stats)),
            *UTXO_CHANGE.sample(stats.utxo_increase),
        ]

    async def _ask(self, block: str) -> BlockStats:
        try:
            return await self.node.rpc.call("getblockstats", block, *self._selected, into=BlockStats)
        except RpcError as error:
            if "pruned" in str(error):
                raise Unsupported(str(error)) from None
            if "-txindex" not in str(error) or self._selected:
                raise
        self._selected = (WITHOUT_TXINDEX,)
        return await self._ask(block)


def _in_satoshis(amount: Amount | None) -> float | None:
    return satoshis(amount) if isinstance(amount, float) else amount


def _feerates(stats: BlockStats) -> dict[tuple[str, ...], float | None]:
    """Feerates by statistic; the node says 0 for a block without fees to rate."""
    if stats.txs <= 1 or stats.feerate_percentiles is None:
        return {}
    rates = (stats.minfeerate, *stats.feerate_percentiles, stats.maxfeerate)
    return {(stat,): rate for stat, rate in zip(FEERATE_STATS, rates, strict=True)}
