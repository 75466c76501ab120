"""Memory that the node keeps from being swapped out, for keys, from getmemoryinfo."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

LOCKED = gauge(
    "bitcoin_memory_locked_bytes",
    "The pool of pages that hold keys: used, free, and locked in memory, from getmemoryinfo.locked.",
    labels=("state",),
)


class LockedPool(Struct):
    """The member `locked`; bytes."""

    used: int
    free: int
    locked: int


class MemoryInfo(Struct):
    """The answer of getmemoryinfo."""

    locked: LockedPool


@BITCOIN.register("memory")
class MemoryCollector(Collector[BitcoinNode]):
    """The pool of locked pages."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getmemoryinfo."""
        pool = (await self.node.rpc.call("getmemoryinfo", into=MemoryInfo)).locked
        return LOCKED.samples({("used",): pool.used, ("free",): pool.free, ("locked",): pool.locked})
