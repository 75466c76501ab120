"""What of the tracker survives a restart: enough to neither invent a reorganisation nor forget one."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from chainwatch.families.bitcoin.tracker.active_chain import WINDOW, ActiveChain, Block, Hash

MAX_INVALID = 20
Count = Annotated[int, Meta(ge=1, le=10_000)]


class State(Struct, kw_only=True):
    """The content of the state file.

    `label` and `genesis` tell whose blocks these are, `address` from which node they came (empty in files of older
    versions). `reorgs` are the counters so far, by origin and depth, so that one counted while nobody scraped is still
    seen to have happened. `invalid` are branches that a person put away, by their last block.
    """

    kind: Literal["chainwatch bitcoin tracker"] = "chainwatch bitcoin tracker"
    version: Literal[1] = 1
    label: Annotated[str, Meta(pattern=r"^[a-z0-9._-]{1,60}$")]
    genesis: Hash
    address: Annotated[str, Meta(max_length=1000)] = ""
    blocks: Annotated[list[Block], Meta(max_length=WINDOW)]
    reorgs: dict[Literal["network", "operator"], dict[Annotated[int, Meta(ge=1, le=100_000)], Count]] = {}
    invalid: Annotated[dict[Hash, Annotated[list[Hash], Meta(max_length=WINDOW)]], Meta(max_length=MAX_INVALID)] = {}

    def __post_init__(self) -> None:
        ActiveChain(self.blocks)  # refuses what is no chain
