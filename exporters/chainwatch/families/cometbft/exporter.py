"""One CometBFT node under watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from aiohttp import web

from chainwatch.exposition.family import Exporter
from chainwatch.exposition.runner import Source
from chainwatch.exposition.state_file import StateFile, state_folder
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.state import State
from chainwatch.families.cometbft.names import Names
from chainwatch.families.cometbft.node import CometbftNode
from chainwatch.families.cometbft.sdk.application import Application
from chainwatch.families.cometbft.settings import CometbftSettings, validator_names
from chainwatch.families.cometbft.tracker import monikers
from chainwatch.families.cometbft.tracker.tracker import Tracker
from chainwatch.families.cometbft.view.history import History
from chainwatch.families.cometbft.view.page import LiveView

STATE_FILE_NAME = "cometbft.json"


class CometbftExporter(Exporter[CometbftSettings]):
    """Holds the ways to the nodes, and the tracker that follows their chain.

    Raises `ConfigError` where another exporter has the state file, or the validators' names cannot be read.
    """

    def __init__(self, settings: CometbftSettings) -> None:
        folder = state_folder(settings.state.dir)
        self._state = StateFile(folder / STATE_FILE_NAME, State) if folder else None
        if self._state:
            self._state.lock()
        endpoints = Endpoints(settings)
        self._tracker = Tracker(endpoints, settings, self._state)
        self._node = CometbftNode(settings, endpoints, self._tracker, Application(endpoints))
        self._names = Names(validator_names(settings))
        history = History(self._tracker.ledger.settled, self._tracker.tallies.missed_in_a_row)
        self._view = LiveView(self._tracker, self._names.of, history)
        self._tracker.observers.append(self._view.count)

    @property
    def node(self) -> CometbftNode:
        """What the collectors ask."""
        return self._node

    @property
    def tracker(self) -> Tracker:
        """What happens on the chain."""
        return self._tracker

    @property
    def sources(self) -> Sequence[Source]:
        """What counts as things happen."""
        return [self._node.rpc.metrics, self._tracker]

    def constant_labels(self) -> Mapping[str, str]:
        """The chain as the node named it when it last answered, be it before a restart of this exporter."""
        return {"chain": self._node.chain}

    def facts(self) -> Iterable[tuple[str, str]]:
        """Address and chain of the node, and how the chain stands."""
        yield "RPC address", self._node.rpc.address
        known = self._tracker.chain_id is not None
        yield "Chain", self._node.chain if known else "not known yet: the node has not answered"
        yield "Condition", self._tracker.verdict.condition.value.replace("_", " ")
        yield "Vantage points", str(len(self._node.endpoints.all) - 1)

    def background(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Follow the chain, and what its validators call themselves."""
        node = self._node
        return {
            "tracker": self._tracker.run,
            "validators' names": lambda: monikers.follow(node.endpoints, node.application, self._names),
        }

    def routes(self) -> Iterable[web.RouteDef]:
        """The live view."""
        return self._view.routes()

    def configure(self, settings: CometbftSettings) -> None:
        """Take over addresses, the way to log in, and how closely the chain is followed."""
        before = self._node.settings
        self._node.endpoints.configure(settings)
        if settings.rpc.url != before.rpc.url:
            self._tracker.other_node()
        self._tracker.configure(settings)
        self._node.settings = settings

    async def close(self) -> None:
        """Close the connections, and let go of the state file."""
        if self._state:
            self._state.close()
        await self._node.endpoints.close()
