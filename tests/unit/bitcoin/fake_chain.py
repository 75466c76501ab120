"""A node's chain for tests of the tracker: a tree of blocks with an active tip, which answers RPC like BitcoinRpc."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chainwatch.errors import MethodNotFound, NodeError, RpcError
from chainwatch.families.bitcoin.settings import Rpc


@dataclass
class FakeBlock:
    hash: str
    height: int
    previous: str | None
    time: int
    work: int
    status: str = "headers-only"


@dataclass
class FakeChain:
    """What changes the chain sets `tip`; whatever was active once is fully validated, as in a real node."""

    blocks: dict[str, FakeBlock] = field(default_factory=dict)
    subversion: str = "/Satoshi:31.0.0/"
    zmq: list[dict[str, str]] | None = None
    zmq_method: str = "getzmqnotifications"
    error: NodeError | None = None
    forbidden: dict[str, NodeError] = field(default_factory=dict)
    stats: dict[str, Any] = field(
        default_factory=lambda: {"txs": 3, "total_size": 500, "total_weight": 1600, "totalfee": 70}
    )
    asked: Counter[str] = field(default_factory=Counter)
    settings: Rpc = field(default_factory=Rpc)
    address: str = "127.0.0.1:8332"
    salt: str = ""

    def __post_init__(self) -> None:
        self.tip = self._add(None, "genesis", 1).hash
        self.blocks[self.tip].status = "valid-fork"
        self.genesis = self.tip

    def _add(self, parent: str | None, name: str, work: int, seconds_ago: float = 0) -> FakeBlock:
        above = self.blocks[parent] if parent else None
        digest = hashlib.sha256(f"{self.salt}{parent}{name}".encode()).hexdigest()
        block = FakeBlock(
            digest,
            above.height + 1 if above else 0,
            parent,
            int(time.time() - seconds_ago),
            (above.work if above else 0) + work,
        )
        return self.blocks.setdefault(digest, block)

    def grow(self, parent: str, count: int, name: str = "", *, work: int = 2, seconds_ago: float = 0) -> list[str]:
        """Add blocks on a parent without activating them; return their hashes, lowest first."""
        hashes = []
        for _ in range(count):
            parent = self._add(parent, name, work, seconds_ago).hash
            hashes.append(parent)
        return hashes

    def activate(self, tip: str) -> None:
        """Make this the tip: it and everything below is validated now."""
        self.tip = tip
        for block in self.branch(tip):
            block.status = "valid-fork"

    def mine(self, count: int = 1, name: str = "", **how: Any) -> list[str]:
        """Add blocks on the tip and activate the last."""
        hashes = self.grow(self.tip, count, name, **how)
        self.activate(hashes[-1])
        return hashes

    def reorganise(self, depth: int, count: int, name: str = "rival", **how: Any) -> list[str]:
        """Let `count` blocks take the place of the last `depth`."""
        fork = self.branch(self.tip)[depth].hash
        hashes = self.grow(fork, count, name, **how)
        self.activate(hashes[-1])
        return hashes

    def invalidate(self, depth: int, then: str | None = None) -> str:
        """invalidateblock of the last `depth` blocks; the tip is then `then`, or what is left. Returns the old tip."""
        old, line = self.tip, self.branch(self.tip)
        for block in line[:depth]:
            block.status = "invalid"
        self.tip = then or line[depth].hash
        return old

    def reconsider(self, tip: str) -> None:
        """reconsiderblock of a branch that has most work."""
        self.activate(tip)

    def forget(self, depth: int) -> None:
        """A crash: the last `depth` blocks were never written."""
        line = self.branch(self.tip)
        for block in line[:depth]:
            del self.blocks[block.hash]
        self.tip = line[depth].hash

    def branch(self, tip: str) -> list[FakeBlock]:
        """A block and its ancestors, highest first."""
        line = []
        at: str | None = tip
        while at is not None:
            line.append(self.blocks[at])
            at = self.blocks[at].previous
        return line

    # The part of BitcoinRpc that the tracker uses

    async def call(self, method: str, *params: Any, into: Any = Any) -> Any:
        self.asked[method] += 1
        if self.error is not None:
            raise self.error
        if method in self.forbidden:
            raise self.forbidden[method]
        return msgspec.convert(getattr(self, f"_{method}", self._missing(method))(*params), into)

    def _missing(self, method: str) -> Any:
        def refuse(*_: Any) -> None:
            if method == self.zmq_method and self.zmq is not None:
                return self.zmq  # type: ignore[return-value]
            raise MethodNotFound(f"{method}: not here")

        return refuse

    def _getbestblockhash(self) -> str:
        return self.tip

    def _getblockhash(self, height: int) -> str:
        return self.branch(self.tip)[-1 - height].hash

    def _getblockheader(self, block_hash: str) -> dict[str, Any]:
        block = self._known(block_hash)
        active = block in self.branch(self.tip)
        return {
            "hash": block.hash,
            "height": block.height,
            "time": block.time,
            "confirmations": self.blocks[self.tip].height - block.height + 1 if active else -1,
            "chainwork": f"{block.work:064x}",
            **({"previousblockhash": block.previous} if block.previous else {}),
        }

    def _known(self, block_hash: str) -> FakeBlock:
        if block_hash not in self.blocks:
            raise RpcError("getblockheader: Block not found (code -5)", -5)
        return self.blocks[block_hash]

    def _getchaintips(self) -> list[dict[str, Any]]:
        parents = {block.previous for block in self.blocks.values()}
        active = self.branch(self.tip)
        tips = [block for block in self.blocks.values() if block.hash not in parents or block.hash == self.tip]
        answer = []
        for block in sorted(tips, key=lambda block: -block.height):
            length = next(i for i, below in enumerate(self.branch(block.hash)) if below in active)
            status = "active" if block.hash == self.tip else block.status
            answer.append({"height": block.height, "hash": block.hash, "branchlen": length, "status": status})
        return answer

    def _getnetworkinfo(self) -> dict[str, Any]:
        return {"version": 310000, "subversion": self.subversion}

    def _getblockchaininfo(self) -> dict[str, Any]:
        height = self.blocks[self.tip].height
        return {"chain": "regtest", "blocks": height, "headers": height, "bestblockhash": self.tip}

    def _getblockstats(self, block_hash: str, wanted: tuple[str, ...]) -> dict[str, Any]:
        self._known(block_hash)
        for name in wanted:
            if name not in self.stats:
                raise RpcError(f"getblockstats: Invalid selected statistic {name} (code -8)", -8)
        return {name: self.stats[name] for name in wanted}
