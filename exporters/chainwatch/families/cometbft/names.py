"""What validators are called: by the operator's own words, else by their own.

A moniker is whatever its owner chose, so that it goes to people's eyes only, never into a label or a page of metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from chainwatch.families.cometbft.sdk.queries import StakingValidator


class PublicKey(Struct, frozen=True):
    """A public key as opaque text: it is compared, and never decoded."""

    value: str | None = None


class Member(Struct, frozen=True):
    """A member of the set as /validators lists it."""

    address: str
    pub_key: PublicKey | None = None


class Names:
    """Names by address: those that were configured come before those that the chain tells."""

    def __init__(self, configured: Mapping[str, str]) -> None:
        self._configured = configured
        self._monikers: dict[str, str] = {}

    def of(self, address: str) -> str | None:
        """Return the name, or None."""
        return self._configured.get(address) or self._monikers.get(address)

    def learn(self, members: Iterable[Member], validators: Iterable[StakingValidator]) -> None:
        """Take over what validators call themselves, found by the same public key; old members are forgotten."""
        monikers = {validator.key: validator.moniker for validator in validators if validator.moniker}
        self._monikers = {
            member.address: monikers[member.pub_key.value]
            for member in members
            if member.pub_key and member.pub_key.value in monikers
        }
