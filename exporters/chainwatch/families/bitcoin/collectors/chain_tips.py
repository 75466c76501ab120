"""Ends of all branches that the node knows, by status, from getchaintips."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

# The node walks its whole block index for the answer, which grows for ever, and holds the lock on the chain meanwhile.
# An invalid block, which pages, leaves the best block as it is: it waits for so long.
MAX_AGE_SECONDS = 15
# About a day on Bitcoin.
RECENT_BLOCKS = 144
STATUSES = ("active", "valid-fork", "valid-headers", "headers-only", "invalid")

TIPS = gauge(
    "bitcoin_chain_tips",
    f"Ends of branches since the node's data began, from getchaintips.status; up to {MAX_AGE_SECONDS} s old while the "
    "best block stays.",
    labels=("status",),
)
RECENT = gauge(
    "bitcoin_chain_tips_recent",
    f"Ends of branches at most {RECENT_BLOCKS} blocks below the best block, from getchaintips.status and height; up to "
    f"{MAX_AGE_SECONDS} s old while the best block stays.",
    labels=("status",),
)


class ChainTip(Struct):
    """One entry of the answer of getchaintips."""

    height: int
    status: str


@BITCOIN.register("chain_tips")
class ChainTipsCollector(Collector[BitcoinNode]):
    """Branches by status: the active one, stale ones, invalid ones."""

    def __init__(self, node: BitcoinNode) -> None:
        super().__init__(node)
        self._tips: Sequence[ChainTip] = ()
        self._best = ""
        self._asked_at = 0.0

    async def collect(self) -> Iterable[Metric]:
        """Ask getblockchaininfo; and getchaintips where the best block is another, or the last answer too old."""
        info = await self.node.blockchain_info()
        now = time.monotonic()
        if info.bestblockhash != self._best or now - self._asked_at > MAX_AGE_SECONDS:
            self._tips = await self.node.rpc.call("getchaintips", into=list[ChainTip])
            self._best, self._asked_at = info.bestblockhash, now
        recent = [tip for tip in self._tips if tip.height >= info.blocks - RECENT_BLOCKS]
        return [*TIPS.samples(_by_status(self._tips)), *RECENT.samples(_by_status(recent))]


def _by_status(tips: Iterable[ChainTip]) -> dict[tuple[str, ...], int]:
    counts: Counter[tuple[str, ...]] = Counter((tip.status if tip.status in STATUSES else "other",) for tip in tips)
    return {(status,): counts[(status,)] for status in STATUSES} | dict(counts)
