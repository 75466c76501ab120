"""One CometBFT node as its collectors see it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chainwatch.families.cometbft.client import CometbftRpc, Endpoints
from chainwatch.families.cometbft.schema import NetInfo, Status, UnconfirmedTxs
from chainwatch.families.cometbft.sdk.application import Application
from chainwatch.families.cometbft.settings import CometbftSettings

UNKNOWN = "unknown"
# A chain's name is whatever its genesis says; CometBFT itself allows 50 characters.
_CHAIN = re.compile(r"[A-Za-z0-9._-]{1,50}")


class Following(Protocol):
    """What collectors want to know of the tracker."""

    @property
    def chain_id(self) -> str | None:
        """Of the chain that is followed, be it from before a restart; None until a node has answered."""

    @property
    def names(self) -> Mapping[str, str]:
        """One's own validators, by address."""

    @property
    def shown(self) -> Sequence[str]:
        """Members of the set that have series of their own, by address."""

    def first_seen(self, height: int) -> float | None:
        """Unix time at which this exporter first saw the watched node's block; None when that is not known."""

    @property
    def target_spacing(self) -> float | None:
        """Seconds between blocks, set or measured; None when neither is known."""


@dataclass(slots=True)
class CometbftNode:
    """The way to ask the node, and what was learnt from its streams."""

    settings: CometbftSettings
    endpoints: Endpoints
    tracker: Following
    application: Application

    @property
    def rpc(self) -> CometbftRpc:
        """The watched node itself."""
        return self.endpoints.own

    @property
    def chain(self) -> str:
        """Value of the label chain: as the node named it when it last answered."""
        named = self.endpoints.chain_id or self.tracker.chain_id or ""
        return named if is_label(named) else UNKNOWN

    async def status(self) -> Status:
        """Ask /status; collectors that ask in the same scrape share one call."""
        return await self.endpoints.status()

    async def net_info(self) -> NetInfo:
        """Ask /net_info, likewise shared."""
        return await self.rpc.call("net_info", NetInfo)

    async def unconfirmed_txs(self) -> UnconfirmedTxs:
        """Ask /num_unconfirmed_txs, likewise shared."""
        return await self.rpc.call("num_unconfirmed_txs", UnconfirmedTxs)


def is_label(chain_id: str) -> bool:
    """Whether a chain's name can be the label chain."""
    return _CHAIN.fullmatch(chain_id) is not None
