"""One Bitcoin-family node under watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from chainwatch.exposition.family import Exporter
from chainwatch.exposition.runner import Source
from chainwatch.exposition.state_file import StateFile, state_folder
from chainwatch.families.bitcoin.chains import UNKNOWN
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.log.node_log import NodeLog
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.state import State
from chainwatch.families.bitcoin.tracker.tracker import Tracker

STATE_FILE_NAME = "bitcoin.json"


class BitcoinExporter(Exporter[BitcoinSettings]):
    """Holds the node's client, its tracker, and its log where that is followed.

    Raises `ConfigError` where another exporter has the state file.
    """

    def __init__(self, settings: BitcoinSettings) -> None:
        folder = state_folder(settings.state.dir)
        self._state = StateFile(folder / STATE_FILE_NAME, State) if folder else None
        if self._state:
            self._state.lock()
        rpc = BitcoinRpc(settings.rpc)
        tracker = Tracker(rpc, settings, self._state)
        self._node = BitcoinNode(settings, rpc, tracker)
        self._log = NodeLog(settings.log.file, rpc, lambda: tracker.moved_after) if settings.log.file else None

    @property
    def node(self) -> BitcoinNode:
        """What the collectors ask."""
        return self._node

    @property
    def sources(self) -> Sequence[Source]:
        """What counts as things happen."""
        sources: list[Source] = [self._node.rpc.metrics, self._node.tracker]
        return [*sources, self._log] if self._log else sources

    def constant_labels(self) -> Mapping[str, str]:
        """The chain as the node named it when it last answered, be it before a restart of this exporter."""
        node = self._node
        return {"chain": node.chain.label if node.chain else node.tracker.chain_label or UNKNOWN}

    def facts(self) -> Iterable[tuple[str, str]]:
        """Address, chain and software of the node; its log where that is followed."""
        node = self._node
        yield "RPC address", node.rpc.address
        yield "Chain", self.constant_labels()["chain"] if node.chain else "not known yet: the node has not answered"
        if node.chain:
            yield "Software", node.chain.client
        if self._log:
            yield "Log", self._log.status

    def background(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Follow the tip, and the log."""
        work = {"tracker": self._node.tracker.run}
        return work | ({"log follower": self._log.run} if self._log else {})

    def configure(self, settings: BitcoinSettings) -> None:
        """Take over the way to log in, and what is configured of the chain."""
        if settings.rpc.url != self._node.settings.rpc.url:
            self._node.tracker.other_node()
        self._node.rpc.configure(settings.rpc)
        self._node.tracker.configure(settings)
        self._node.settings = settings

    async def close(self) -> None:
        """Close the RPC connections, and let go of the state file."""
        if self._state:
            self._state.close()
        await self._node.rpc.close()
