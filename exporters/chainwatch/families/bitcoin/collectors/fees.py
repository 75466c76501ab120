"""What the node thinks a transaction must pay to be mined in time, from estimatesmartfee."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.units import satoshis_per_vbyte

# The node answers a target of 1 as if it were 2; 1008 is its longest.
TARGETS = (2, 3, 6, 12, 24, 144, 1008)

ESTIMATE = gauge(
    "bitcoin_fee_estimate_satoshis_per_vbyte",
    "Feerate for confirmation within so many blocks, from estimatesmartfee.feerate; absent while the node has seen too "
    "little.",
    labels=("target",),
)


class FeeEstimate(Struct):
    """The answer of estimatesmartfee; coins per 1000 virtual bytes."""

    feerate: float | None = None  # absent with "Insufficient data or no feerate found"


@BITCOIN.register("fees")
class FeesCollector(Collector[BitcoinNode]):
    """Fee estimates by confirmation target."""

    async def collect(self) -> Iterable[Metric]:
        """Ask estimatesmartfee once for each target."""
        answers = await asyncio.gather(
            *(self.node.rpc.call("estimatesmartfee", target, into=FeeEstimate) for target in TARGETS)
        )
        return ESTIMATE.samples(
            {
                (str(target),): satoshis_per_vbyte(answer.feerate)
                for target, answer in zip(TARGETS, answers, strict=True)
            }
        )
