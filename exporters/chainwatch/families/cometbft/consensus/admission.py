"""Which vantage points are of the chain that is watched."""

from __future__ import annotations

import logging

from chainwatch.families.cometbft.consensus.events import Event, Header, NewBlock, NewBlockHeader
from chainwatch.families.cometbft.consensus.model import OWN_NODE

log = logging.getLogger(__name__)


class Admission:
    """Lets a vantage point in with its first header of this chain; the watched node's own first header defines it."""

    def __init__(self, chain_id: str) -> None:
        self.chain_id = chain_id  # empty until the first header
        self.foreign: dict[int, str] = {}  # vantage points that answer for another chain, and its id
        self.admitted = {OWN_NODE}

    def admit(self, event: Event, vantage: int) -> bool:
        """Tell whether a vantage point that is not known to be of this chain shows now that it is."""
        header = event.header if isinstance(event, NewBlockHeader) else None
        header = event.block.header if isinstance(event, NewBlock) else header
        if header is not None and self.chain_id:
            if header.chain_id == self.chain_id:
                self.admitted.add(vantage)
                self.foreign.pop(vantage, None)
                return True
            self.refuse(header, vantage)
        return False

    def refuse(self, header: Header, vantage: int) -> None:
        """Let nothing more of a vantage point in that names another chain."""
        self.admitted.discard(vantage)
        if vantage not in self.foreign:
            own = vantage == OWN_NODE
            log.error(
                "%s sends events of chain %.50r, this exporter watches %.50r: they are not counted; check %s",
                "the watched node" if own else f"vantage point {vantage}",
                header.chain_id,
                self.chain_id,
                "rpc.url, and the state file if the node was moved to another chain" if own else "vantage.urls",
            )
        self.foreign[vantage] = header.chain_id[:50]

    def same_chain(self, header: Header) -> bool:
        """Tell whether this is a header of the chain; the first one names it."""
        self.chain_id = self.chain_id or header.chain_id
        return header.chain_id == self.chain_id
