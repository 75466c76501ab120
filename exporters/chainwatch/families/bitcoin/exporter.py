"""One Bitcoin-family node under watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from chainwatch.exposition.family import Exporter
from chainwatch.exposition.runner import Source
from chainwatch.families.bitcoin.chains import UNKNOWN
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker import Tracker


class BitcoinExporter(Exporter[BitcoinSettings]):
    """Holds the node's client and tracker."""

    def __init__(self, settings: BitcoinSettings) -> None:
        rpc = BitcoinRpc(settings.rpc)
        self._node = BitcoinNode(settings, rpc, Tracker())

    @property
    def node(self) -> BitcoinNode:
        """What the collectors ask."""
        return self._node

    @property
    def sources(self) -> Sequence[Source]:
        """What counts as things happen."""
        return [self._node.rpc.metrics, self._node.tracker]

    def constant_labels(self) -> Mapping[str, str]:
        """The chain, as the node named it when it last answered."""
        return {"chain": self._node.chain.label if self._node.chain else UNKNOWN}

    def facts(self) -> Iterable[tuple[str, str]]:
        """Address, chain and software of the node."""
        node = self._node
        yield "RPC address", node.rpc.address
        yield "Chain", node.chain.label if node.chain else "not known yet: the node has not answered"
        if node.chain:
            yield "Software", node.chain.client

    def background(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Follow the tip."""
        return {"tracker": self._node.tracker.run}

    def configure(self, settings: BitcoinSettings) -> None:
        """Take over the way to log in, and what is configured of the chain."""
        self._node.rpc.configure(settings.rpc)
        self._node.settings = settings

    async def close(self) -> None:
        """Close the RPC connections."""
        await self._node.rpc.close()
