"""How hard it is to find a block, from getmininginfo."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

DIFFICULTY = gauge("bitcoin_difficulty", "Difficulty of the best block, from getmininginfo.difficulty.")
NEXT_DIFFICULTY = gauge(
    "bitcoin_next_difficulty", "Difficulty that the next block must have, from getmininginfo.next.difficulty (29+)."
)
HASH_RATE = gauge(
    "bitcoin_network_hashes_per_second",
    "Hash rate that the last 120 blocks imply, from getmininginfo.networkhashps (the same as getnetworkhashps).",
)
RETARGET = gauge(
    "bitcoin_retarget_progress_ratio",
    "Share of the current difficulty period's blocks that are found, from getmininginfo.blocks; 1 when the next block "
    "begins a new period.",
)


class NextBlock(Struct):
    """The member `next`."""

    difficulty: float


class MiningInfo(Struct):
    """The answer of getmininginfo."""

    blocks: int
    difficulty: float
    networkhashps: float | None = None
    next: NextBlock | None = None  # 29+


@BITCOIN.register("mining")
class MiningCollector(Collector[BitcoinNode]):
    """Difficulty, hash rate, and how far the difficulty period is."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getmininginfo; getblockchaininfo and getnetworkinfo say which chain's periods hold."""
        info, network, blockchain = await asyncio.gather(
            self.node.rpc.call("getmininginfo", into=MiningInfo),
            self.node.network_info(),
            self.node.blockchain_info(),
        )
        period = self.node.recognise(network, blockchain).retarget
        return [
            *DIFFICULTY.sample(info.difficulty),
            *NEXT_DIFFICULTY.sample(info.next.difficulty if info.next else None),
            *HASH_RATE.sample(info.networkhashps),
            *RETARGET.sample((info.blocks % period + 1) / period if period else None),
        ]
