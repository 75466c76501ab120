"""Whether the node may talk to others, by which networks, and what it warns of, from getnetworkinfo."""

from collections.abc import Iterable, Sequence

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.labels import NETWORKS, OTHER
from chainwatch.families.bitcoin.node import BitcoinNode

ACTIVE = gauge(
    "bitcoin_network_active",
    "0 while an operator has switched the network off (setnetworkactive), from getnetworkinfo.networkactive.",
)
LOCAL_RELAY = gauge(
    "bitcoin_local_relay",
    "0 when the node asks its peers for no transactions (blocksonly), from getnetworkinfo.localrelay.",
)
REACHABLE = gauge(
    "bitcoin_network_reachable",
    "1 when the node's settings let it connect to the network, from getnetworkinfo.networks.reachable.",
    labels=("network",),
)
WARNINGS = gauge(
    "bitcoin_warnings", "1 while the node warns of something, from getnetworkinfo.warnings.", labels=("kind",)
)

# What the node says, in lower case, by kind; from warnings.cpp and validation.cpp of 0.21 to 31.
WARNING_TEXTS = {
    # "This is a pre-release [or beta] test build - use at your own risk - ..."
    "prerelease": ("this is a pre-release",),
    # "Unknown new rules activated (versionbit 4)", 0.20: "Unknown block versions being mined! It's possible ..."
    "unknown_rules": ("unknown new rules activated", "unknown block versions being mined", "unexpected version"),
    # to 27: "We do not appear to fully agree with our peers! You may need to upgrade, or other nodes may need to ..."
    # 28+: "Found invalid chain at least ~6 blocks longer than our best chain", 31: "... more than 6 blocks longer ..."
    "invalid_chain": ("we do not appear to fully agree with our peers", "found invalid chain"),
    # to 27: "Please check that your computer's date and time are correct!", 28+: "... more than 10 minutes out of sync"
    "clock": ("computer's date and time",),
    # "Disk space is too low!", 25+: "Disk space for ... may not accommodate the block files"
    "disk": ("disk space",),
    # to 21 and in derivatives: "The network does not appear to fully agree! Some miners appear to be ..."
    "fork": ("the network does not appear to fully agree", "large valid fork found", "large-work fork"),
}


@BITCOIN.register("network")
class NetworkCollector(Collector[BitcoinNode]):
    """Network switched on, transactions relayed, networks within reach, warnings by kind."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getnetworkinfo."""
        info = await self.node.network_info()
        return [
            *ACTIVE.sample(info.networkactive),
            *LOCAL_RELAY.sample(info.localrelay),
            *REACHABLE.samples({(net.name,): net.reachable for net in info.networks if net.name in NETWORKS}),
            *WARNINGS.samples(_by_kind(info.warnings)),
        ]


def _by_kind(warnings: str | Sequence[str] | None) -> dict[tuple[str, ...], bool]:
    """Which kinds of warning are on; to version 27 one text holds them all."""
    if warnings is None:
        return {}
    texts = [warnings] if isinstance(warnings, str) else warnings
    kinds = {kind for text in texts if text for kind in _kinds(text)}
    return {(kind,): kind in kinds for kind in (*WARNING_TEXTS, OTHER)}


def _kinds(text: str) -> set[str]:
    text = text.lower()
    return {kind for kind, parts in WARNING_TEXTS.items() if any(part in text for part in parts)} or {OTHER}
