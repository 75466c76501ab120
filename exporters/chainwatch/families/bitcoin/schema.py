"""Answers of the node's RPC server, as far as chainwatch reads them.

Every field that some supported version lacks is `None` when absent. Names are the node's own.
"""

from __future__ import annotations

from msgspec import Struct


class BlockchainInfo(Struct):
    """The answer of getblockchaininfo."""

    chain: str
    blocks: int
    headers: int
    bestblockhash: str
    difficulty: float | None = None
    time: int | None = None  # 23+
    mediantime: int | None = None
    verificationprogress: float | None = None
    initialblockdownload: bool | None = None  # not in Bitcoin SV
    size_on_disk: int | None = None  # not in Bitcoin SV
    pruned: bool | None = None
    pruneheight: int | None = None
    prune_target_size: int | None = None
    warnings: str | list[str] | None = None  # a list from 28


class NetworkReach(Struct):
    """One entry of getnetworkinfo.networks."""

    name: str
    reachable: bool
    limited: bool | None = None


class NetworkInfo(Struct):
    """The answer of getnetworkinfo."""

    version: int
    subversion: str
    timeoffset: int | None = None
    networkactive: bool | None = None
    localrelay: bool | None = None
    connections: int | None = None
    connections_in: int | None = None  # 0.21+, not in Bitcoin SV
    connections_out: int | None = None
    networks: list[NetworkReach] = []
    warnings: str | list[str] | None = None


class BlockHeader(Struct):
    """The answer of getblockheader with verbosity; -1 confirmations mean that the block left the active chain."""

    hash: str
    height: int
    time: int
    confirmations: int
    previousblockhash: str | None = None  # absent in the genesis block
    mediantime: int | None = None
    nTx: int | None = None  # noqa: N815 - the node's name


class MempoolInfo(Struct):
    """The answer of getmempoolinfo; feerates in coins per 1000 virtual bytes."""

    size: int
    bytes: int
    usage: int | None = None
    total_fee: float | None = None  # 22+
    maxmempool: int | None = None
    mempoolminfee: float | None = None
    minrelaytxfee: float | None = None
    incrementalrelayfee: float | None = None  # 24+
    unbroadcastcount: int | None = None
    fullrbf: bool | None = None  # 24+
    loaded: bool | None = None  # not in Bitcoin SV
