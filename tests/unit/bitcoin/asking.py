"""What tests of the client ask, and how they look at what it counted."""

import asyncio
from typing import Any

from chainwatch.families.bitcoin.client import BitcoinRpc

CHAIN_CALLS = ("getblockchaininfo", "getmempoolinfo", "getpeerinfo")


def counted(rpc: BitcoinRpc, name: str) -> dict[tuple[str, ...], float]:
    """Samples of one of the client's own metrics, by label values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in rpc.metrics.collect()
        for sample in family.samples
        if sample.name == name
    }


def failures(rpc: BitcoinRpc) -> dict[tuple[str, ...], float]:
    return counted(rpc, "chainwatch_rpc_failures_total")


async def all_of(rpc: BitcoinRpc, *methods: str) -> list[Any]:
    """Results and errors of calls made together."""
    return await asyncio.gather(*(rpc.call(method, into=object) for method in methods), return_exceptions=True)
