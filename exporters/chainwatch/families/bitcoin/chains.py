"""Which chain a node is on, from what it reports, and what the protocol of that chain intends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chainwatch.families.bitcoin.settings import Chain as ChainSettings

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Protocol:
    """Constants of a chain's consensus rules: seconds between blocks, blocks between halvings and retargets."""

    spacing: float
    halving: int
    retarget: int | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The chain of one node: its label, and its protocol where chainwatch or the settings know it."""

    label: str
    client: str
    spacing: float | None = None
    halving: int | None = None
    retarget: int | None = None


# By the first word of the subversion, /Satoshi:31.0.0/. Bitcoin SV retargets at every block.
PROTOCOLS = {
    "bitcoin": Protocol(spacing=600, halving=210_000, retarget=2016),
    "litecoin": Protocol(spacing=150, halving=840_000, retarget=2016),
    "bitcoinsv": Protocol(spacing=600, halving=210_000, retarget=None),
}
CLIENTS = {"satoshi": "bitcoin", "litecoincore": "litecoin", "bitcoinsv": "bitcoinsv"}
REGTEST_HALVING = 150


def identify(subversion: str, network: str, settings: ChainSettings) -> Chain:
    """Return the chain of a node from getnetworkinfo.subversion and getblockchaininfo.chain.

    Settings come first: they are for derivatives that chainwatch does not know.
    """
    client = _word(subversion.strip("/").partition(":")[0])
    name = CLIENTS.get(client, client)
    protocol = PROTOCOLS.get(name)
    regtest = network == "regtest"
    return Chain(
        label=settings.name or f"{name or UNKNOWN}-{_word(network) or UNKNOWN}",
        client=client or UNKNOWN,
        spacing=settings.spacing or (protocol.spacing if protocol else None),
        halving=settings.halving or (None if not protocol else REGTEST_HALVING if regtest else protocol.halving),
        retarget=protocol.retarget if protocol and not regtest else None,
    )


def version_text(subversion: str, number: int) -> str:
    """The version in dots, from the subversion where it has one (/Satoshi:31.0.0/), else from the number."""
    match = re.match(r"^/[^:/]{1,40}:([0-9][0-9A-Za-z.\-]{0,30})", subversion)
    return match[1] if match else str(number)


def _word(text: str) -> str:
    """A short word of letters and digits: what the node says becomes a label."""
    return re.sub(r"[^a-z0-9]", "", text.lower())[:24]
