"""One Bitcoin-family node as its collectors see it."""

from __future__ import annotations

from dataclasses import dataclass

from chainwatch.families.bitcoin.chains import Chain, identify
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.schema import BlockchainInfo, NetworkInfo
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.tracker import Tracker


@dataclass(slots=True)
class BitcoinNode:
    """The way to ask the node, what was learnt from its streams, and which chain it is on (None until it answered)."""

    settings: BitcoinSettings
    rpc: BitcoinRpc
    tracker: Tracker
    chain: Chain | None = None

    async def blockchain_info(self) -> BlockchainInfo:
        """Ask getblockchaininfo; collectors that ask in the same scrape share one call."""
        return await self.rpc.call("getblockchaininfo", into=BlockchainInfo)

    async def network_info(self) -> NetworkInfo:
        """Ask getnetworkinfo, likewise shared."""
        return await self.rpc.call("getnetworkinfo", into=NetworkInfo)

    def recognise(self, network: NetworkInfo, blockchain: BlockchainInfo) -> Chain:
        """Remember and return which chain the node is on."""
        self.chain = identify(network.subversion, blockchain.chain, self.settings.chain)
        return self.chain
