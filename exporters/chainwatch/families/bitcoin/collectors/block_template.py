"""The block that the node would mine now, from getblocktemplate: an expensive call, off unless asked for."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.errors import RpcError
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

TRANSACTIONS = gauge(
    "bitcoin_block_template_transactions",
    "Transactions that the node would mine now, without coinbase, counted from getblocktemplate.transactions.",
)
FEES = gauge(
    "bitcoin_block_template_fees_satoshis",
    "Fees of the transactions that the node would mine now, from getblocktemplate.transactions.fee.",
)
WEIGHT = gauge(
    "bitcoin_block_template_weight",
    "Weight of the transactions that the node would mine now, from getblocktemplate.transactions.weight.",
)
# The node makes no template without peers (-9, not on test chains) or while it catches up (-10).
NOT_NOW = (-9, -10)


class TemplateTransaction(Struct):
    """One entry of the template's transactions."""

    fee: int
    weight: int | None = None  # not in Bitcoin SV


class BlockTemplate(Struct):
    """The answer of getblocktemplate."""

    transactions: list[TemplateTransaction]


@BITCOIN.register("block_template", default=False)
class BlockTemplateCollector(Collector[BitcoinNode]):
    """The block that the node would mine now (getblocktemplate, megabytes at each scrape)."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getnetworkinfo and getblockchaininfo for the chain's rules, then getblocktemplate."""
        network, blockchain = await asyncio.gather(self.node.network_info(), self.node.blockchain_info())
        rules = ["segwit"]
        if self.node.recognise(network, blockchain).client == "litecoincore":
            rules.append("mweb")
        if blockchain.chain == "signet":
            rules.append("signet")
        try:
            template = await self.node.rpc.call("getblocktemplate", {"rules": rules}, into=BlockTemplate)
        except RpcError as error:
            if error.code in NOT_NOW:
                return []
            raise
        weights = [tx.weight for tx in template.transactions if tx.weight is not None]
        return [
            *TRANSACTIONS.sample(len(template.transactions)),
            *FEES.sample(sum(tx.fee for tx in template.transactions)),
            *WEIGHT.sample(sum(weights) if len(weights) == len(template.transactions) else None),
        ]
