"""All unspent outputs, from gettxoutsetinfo: minutes of work for a node without coinstatsindex, so off by default."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.errors import RpcError
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.units import satoshis

HEIGHT = gauge(
    "bitcoin_utxo_set_height",
    "Block after which the unspent outputs were counted, from gettxoutsetinfo.height; the count runs beside the "
    "scrapes and is repeated when the best block is another.",
)
OUTPUTS = gauge(
    "bitcoin_utxo_set_outputs", "Unspent outputs after block bitcoin_utxo_set_height, from gettxoutsetinfo.txouts."
)
TRANSACTIONS = gauge(
    "bitcoin_utxo_set_transactions",
    "Transactions with unspent outputs, from gettxoutsetinfo.transactions; absent with coinstatsindex.",
)
AMOUNT = gauge("bitcoin_utxo_set_amount_satoshis", "Coins in unspent outputs, from gettxoutsetinfo.total_amount.")
DISK = gauge(
    "bitcoin_utxo_set_disk_bytes",
    "Estimated size of the unspent outputs on disk, from gettxoutsetinfo.disk_size; absent with coinstatsindex.",
)
# A node with coinstatsindex answers at once; for any other no scrape is made to wait.
PATIENCE_SECONDS = 1.0
# The node's answer to a parameter that it does not know (Bitcoin SV): its help text.
MISC_ERROR = -1


class TxOutSetInfo(Struct):
    """The answer of gettxoutsetinfo."""

    height: int
    bestblock: str
    txouts: int
    total_amount: float
    transactions: int | None = None
    disk_size: int | None = None


@BITCOIN.register("utxo_set", default=False)
class UtxoSetCollector(Collector[BitcoinNode]):
    """Unspent outputs and their sum (gettxoutsetinfo; minutes for the node, raise rpc.timeout)."""

    def __init__(self, node: BitcoinNode) -> None:
        super().__init__(node)
        self._counted: TxOutSetInfo | None = None
        self._counting: asyncio.Task[TxOutSetInfo] | None = None
        # Without a hash of the set, which takes twice the time and tells nothing here.
        self._hash_type: tuple[str, ...] = ("none",)

    async def collect(self) -> Iterable[Metric]:
        """Ask getblockchaininfo; have gettxoutsetinfo asked when the best block is another than at the last count."""
        best = (await self.node.blockchain_info()).bestblockhash
        if self._counting is None and (self._counted is None or self._counted.bestblock != best):
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=PATIENCE_SECONDS)
            if self._counting.done():
                finished, self._counting = self._counting, None
                self._counted = finished.result()
        counted = self._counted
        if counted is None:
            return []
        return [
            *HEIGHT.sample(counted.height),
            *OUTPUTS.sample(counted.txouts),
            *TRANSACTIONS.sample(counted.transactions),
            *AMOUNT.sample(satoshis(counted.total_amount)),
            *DISK.sample(counted.disk_size or None),
        ]

    async def _count(self) -> TxOutSetInfo:
        try:
            return await self.node.rpc.call("gettxoutsetinfo", *self._hash_type, into=TxOutSetInfo)
        except RpcError as error:
            if error.code != MISC_ERROR or not self._hash_type:
                raise
        self._hash_type = ()  # this node knows none
        return await self._count()
