"""Bytes over the network, in total from getnettotals, and by message type from getpeerinfo."""

import asyncio
from collections.abc import Iterable, Mapping

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import counter, gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.labels import OTHER
from chainwatch.families.bitcoin.node import BitcoinNode

RECEIVED = counter("bitcoin_network_received_bytes_total", "Bytes received, from getnettotals.totalbytesrecv.")
SENT = counter("bitcoin_network_sent_bytes_total", "Bytes sent, from getnettotals.totalbytessent.")
TARGET = gauge(
    "bitcoin_upload_target_bytes",
    "Bytes that the node wants to upload at most in a day (-maxuploadtarget), from getnettotals.uploadtarget.target; "
    "absent without a limit.",
)
TARGET_REACHED = gauge(
    "bitcoin_upload_target_reached",
    "1 when the upload limit of the day is used up, from getnettotals.uploadtarget.target_reached.",
)
_HOW = (
    "summed over peers since the exporter started. It advances at each scrape; what a peer sent that came and went "
    "between two scrapes is missing."
)
MESSAGE_RECEIVED = counter(
    "bitcoin_message_received_bytes_total",
    f"Bytes received by message type, from getpeerinfo.bytesrecv_per_msg, {_HOW}",
    labels=("message",),
)
MESSAGE_SENT = counter(
    "bitcoin_message_sent_bytes_total",
    f"Bytes sent by message type, from getpeerinfo.bytessent_per_msg, {_HOW}",
    labels=("message",),
)

# Message types of Bitcoin Core (protocol.h); each has a series from the start.
MESSAGES = frozenset(
    {
        "addr", "addrv2", "block", "blocktxn", "cfcheckpt", "cfheaders", "cfilter", "cmpctblock", "feefilter",
        "filteradd", "filterclear", "filterload", "getaddr", "getblocks", "getblocktxn", "getcfcheckpt",
        "getcfheaders", "getcfilters", "getdata", "getheaders", "headers", "inv", "mempool", "merkleblock",
        "notfound", "ping", "pong", "sendaddrv2", "sendcmpct", "sendheaders", "sendtxrcncl", "tx", "verack",
        "version", "wtxidrelay",
    }
)  # fmt: skip
# Those of its derivatives and of older versions, with a series once they occur.
RARE_MESSAGES = frozenset(
    {
        "alert", "authch", "authresp", "createstrm", "datareftx", "dsdetected", "extmsg", "gethdrsen",
        "getmwebutxos", "hdrsen", "mwebheader", "mwebleafset", "mwebutxos", "protoconf", "reject", "revokemid",
        "sendhdrsen", "streamack",
    }
)  # fmt: skip
KNOWN_MESSAGES = MESSAGES | RARE_MESSAGES


class UploadTarget(Struct):
    """The member `uploadtarget`; a target of 0 means no limit."""

    target: int
    target_reached: bool


class NetTotals(Struct):
    """The answer of getnettotals."""

    totalbytesrecv: int
    totalbytessent: int
    uploadtarget: UploadTarget | None = None


class PeerTraffic(Struct):
    """One entry of getpeerinfo, as far as bytes go. `id` starts again at 0 with the node, `conntime` does not."""

    id: int
    conntime: int
    bytesrecv_per_msg: dict[str, int] | None = None
    bytessent_per_msg: dict[str, int] | None = None


@BITCOIN.register("traffic")
class TrafficCollector(Collector[BitcoinNode]):
    """Bytes received and sent, in total and by message type, and the upload limit."""

    def __init__(self, node: BitcoinNode) -> None:
        super().__init__(node)
        self._received = MessageBytes()
        self._sent = MessageBytes()

    async def collect(self) -> Iterable[Metric]:
        """Ask getnettotals and getpeerinfo."""
        totals, peers = await asyncio.gather(
            self.node.rpc.call("getnettotals", into=NetTotals),
            self.node.rpc.call("getpeerinfo", into=list[PeerTraffic]),
        )
        self._received.observe({(peer.id, peer.conntime): peer.bytesrecv_per_msg or {} for peer in peers})
        self._sent.observe({(peer.id, peer.conntime): peer.bytessent_per_msg or {} for peer in peers})
        limit = totals.uploadtarget
        return [
            *RECEIVED.sample(totals.totalbytesrecv),
            *SENT.sample(totals.totalbytessent),
            *TARGET.sample(limit.target or None if limit else None),
            *TARGET_REACHED.sample(limit.target_reached if limit else None),
            *MESSAGE_RECEIVED.samples(self._received.samples()),
            *MESSAGE_SENT.samples(self._sent.samples()),
        ]


class MessageBytes:
    """Bytes by message type that do not fall when a peer leaves, in one direction.

    The node counts for each connection as long as it lasts. What was there at the first look is not counted: a restart
    of the exporter would show it as a burst.
    """

    def __init__(self) -> None:
        self._totals = dict.fromkeys([*sorted(MESSAGES), OTHER], 0)
        self._seen: dict[tuple[int, int], Mapping[str, int]] | None = None

    def observe(self, peers: Mapping[tuple[int, int], Mapping[str, int]]) -> None:
        """Add what each connection has carried since the last look; connections that ended are forgotten."""
        seen: dict[tuple[int, int], Mapping[str, int]] = {peer: _known_types(counts) for peer, counts in peers.items()}
        if self._seen is not None:
            for peer, counts in seen.items():
                before = self._seen.get(peer, {})
                for message, value in counts.items():
                    more = value - before.get(message, 0)
                    if more > 0:
                        self._totals[message] = self._totals.get(message, 0) + more
        self._seen = seen

    def samples(self) -> Mapping[tuple[str, ...], int]:
        """The totals by label."""
        return {(message,): value for message, value in self._totals.items()}


def _known_types(counts: Mapping[str, int]) -> Mapping[str, int]:
    """The same with every type that chainwatch does not know under one name: peers choose freely."""
    if counts.keys() <= KNOWN_MESSAGES:
        return counts
    known: dict[str, int] = {}
    for message, value in counts.items():
        name = message if message in KNOWN_MESSAGES else OTHER
        known[name] = known.get(name, 0) + value
    return known
