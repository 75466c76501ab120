"""What of consensus survives a restart: enough to count no height twice, and to go on with every counter."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from chainwatch.families.cometbft.consensus.events import PRECOMMIT, PREVOTE
from chainwatch.families.cometbft.consensus.model import Cause, DoubleSign, ValidatorSet
from chainwatch.families.cometbft.consensus.validator_counts import Count, Time, ValidatorCounts

# More validators than any chain has today. The file must stay below `state_file.MAX_BYTES` in the worst case.
MAX_VALIDATORS = 2000
MAX_DOUBLE_SIGNS = 1000
# The protocol's own bound of the whole set's power.
MAX_POWER = 2**63 // 8

Address = Annotated[str, Meta(pattern=r"^[0-9A-F]{40}\Z")]
Name = Annotated[str, Meta(pattern=r"^[a-z_,]{0,100}\Z")]
_ADDRESS = re.compile(r"[0-9A-F]{40}")
_HASH = re.compile(r"[0-9A-F]{64}")


class Saved(Struct, kw_only=True):
    """What `Tallies` keeps: counters, no histograms.

    `set` is that of the last settled height (None before the first, and where it is larger than `MAX_VALIDATORS`).
    `network` are counters by metric and by label values joined with commas; names that this version does not know are
    ignored. `causes` are those of one's own validators at the time. `changed` says when the set last changed so.
    """

    set: ValidatorSet | None = None
    validators: Annotated[dict[Address, ValidatorCounts], Meta(max_length=MAX_VALIDATORS)] = {}
    causes: Annotated[dict[Address, dict[Cause, Count]], Meta(max_length=MAX_VALIDATORS)] = {}
    network: Annotated[dict[Name, Annotated[dict[Name, Count], Meta(max_length=100)]], Meta(max_length=100)] = {}
    changed: Annotated[dict[Name, Time], Meta(max_length=10)] = {}

    def __post_init__(self) -> None:
        problem = set_problem(self.set) if self.set is not None else None
        if problem:
            raise ValueError(f"the validator set cannot be one: {problem}")


class State(Struct, kw_only=True):
    """The content of the state file.

    `chain` tells whose heights these are: on another chain nothing of it is true. `settled` and `hash` name the last
    settled height, `time` is that of its block (None in the file of an earlier version). `double_signs` are those that
    were told already, oldest first, as `Ledger` keeps them; those that cannot be are left out.
    """

    kind: Literal["chainwatch cometbft consensus"] = "chainwatch cometbft consensus"
    version: Literal[1] = 1
    # 50 characters by protocol; any of them, so that it is checked for nothing more.
    chain: Annotated[str, Meta(min_length=1, max_length=50)]
    settled: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    hash: Annotated[str, Meta(pattern=r"^[0-9A-F]{0,64}\Z")]
    time: Time | None = None
    tallies: Saved
    double_signs: Annotated[list[DoubleSign], Meta(max_length=MAX_DOUBLE_SIGNS)] = []

    def __post_init__(self) -> None:
        self.double_signs = [found for found in self.double_signs if _is_possible(found)][-MAX_DOUBLE_SIGNS:]


def _is_possible(found: DoubleSign) -> bool:
    vote = found.type in (PREVOTE, PRECOMMIT) and 1 <= found.height < 2**63 and 0 <= found.round < 2**31
    return vote and _ADDRESS.fullmatch(found.validator) is not None


def set_problem(members: ValidatorSet) -> str | None:
    """Return why a set can be none, or does not fit into the file; None for a good one."""
    addresses = {member.address for member in members.members}
    if not _HASH.fullmatch(members.hash):
        return "its hash is none"
    if not 1 <= len(members.members) <= MAX_VALIDATORS:
        return f"it has {len(members.members)} members; expected 1 to {MAX_VALIDATORS}"
    if len(addresses) != len(members.members) or not all(map(_ADDRESS.fullmatch, addresses)):
        return "an address is none, or is there twice"
    if min(member.power for member in members.members) < 1 or members.power > MAX_POWER:
        return "a power is impossible"
    return None
