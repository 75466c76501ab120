"""Closed sets of label values for what other nodes on the network choose freely."""

from __future__ import annotations

import re
from functools import lru_cache

OTHER = "other"

# Networks that addresses belong to, as getnetworkinfo.networks and getaddrmaninfo call them.
NETWORKS = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
# Addresses of no public network; 0.21 says "unroutable".
NOT_ROUTABLE = "not_publicly_routable"

# Service bits (protocol.h) that are worth a series even while no peer offers them.
COMMON_SERVICES = {
    0: "NETWORK",
    2: "BLOOM",
    3: "WITNESS",
    6: "COMPACT_FILTERS",
    10: "NETWORK_LIMITED",
    11: "P2P_V2",
}
SERVICES = COMMON_SERVICES | {5: "BITCOIN_CASH", 24: "MWEB"}

# One product of a user agent (BIP 14), its version either 0.N or N.
_PRODUCT = re.compile(r"/([A-Za-z ]{1,20}):(?:0\.([0-9]{1,2})|([1-9][0-9]?))(?![0-9])")
# Product to its label, and the versions 0.N and N that exist or may come: a peer can claim any, and without bounds each
# claim would be a new series.
_CLIENTS = {
    "Satoshi": ("satoshi", range(8, 22), range(22, 40)),
    "LitecoinCore": ("litecoincore", range(8, 22), range(22, 40)),
    "Bitcoin SV": ("bitcoinsv", range(0), range(1, 3)),
    "btcd": ("btcd", range(12, 40), range(1, 3)),
}
_NOBODY = (OTHER, range(0), range(0))


def network(name: str) -> str:
    """The label of getpeerinfo.network."""
    if name in ("unroutable", NOT_ROUTABLE):
        return NOT_ROUTABLE
    return name if name in NETWORKS else OTHER


@lru_cache(maxsize=512)  # a node has few distinct peers, and they stay
def client(user_agent: str) -> str:
    """Family and major version of a peer: `/Satoshi:27.1.0/` is `satoshi-27`, `/Satoshi:0.21.2/` is `satoshi-0.21`.

    Of several products (`/btcwire:0.5.0/btcd:0.24.2/`) the last known one counts. Knots keeps Core's version in front
    and adds a date: `/Satoshi:27.1.0/Knots:20240801/` is `knots-27`.
    """
    text = user_agent[:256]
    label = OTHER
    for product, old, new in _PRODUCT.findall(text):
        family, old_versions, new_versions = _CLIENTS.get(product, _NOBODY)
        if old and int(old) in old_versions:
            label = f"{family}-0.{int(old)}"
        elif new and int(new) in new_versions:
            label = f"{family}-{new}"
    return label.replace("satoshi", "knots") if "/Knots:" in text else label


@lru_cache(maxsize=512)
def services(bits: str) -> tuple[str, ...]:
    """The labels of getpeerinfo.services, a number in hex; all unknown bits together are one `other`."""
    number = int(bits[:16], 16)
    known = tuple(name for bit, name in SERVICES.items() if number >> bit & 1)
    return (*known, OTHER) if number & ~sum(1 << bit for bit in SERVICES) else known
