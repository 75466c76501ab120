"""The chain states that the node works on, two after loading an assumeutxo snapshot, from getchainstates (26+)."""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

HEIGHT = gauge(
    "bitcoin_chainstate_height",
    "Best block of the chain state (main, or snapshot with the background validation of what is below it), "
    "from getchainstates.blocks.",
    labels=("chainstate",),
)
PROGRESS = gauge(
    "bitcoin_chainstate_verification_progress_ratio",
    "Estimated share of the transactions verified, from getchainstates.verificationprogress.",
    labels=("chainstate",),
)
VALIDATED = gauge(
    "bitcoin_chainstate_validated",
    "0 while the chain state rests on a snapshot that is not verified yet, from getchainstates.validated.",
    labels=("chainstate",),
)
CACHE = gauge(
    "bitcoin_chainstate_cache_bytes",
    "Room for the cache of coins, from getchainstates.coins_db_cache_bytes and coins_tip_cache_bytes.",
    labels=("chainstate", "cache"),
)


class ChainState(Struct):
    """One entry of getchainstates.chainstates."""

    blocks: int
    verificationprogress: float
    validated: bool | None = None
    snapshot_blockhash: str | None = None  # only where it was made from a snapshot
    coins_db_cache_bytes: int | None = None
    coins_tip_cache_bytes: int | None = None


class ChainStates(Struct):
    """The answer of getchainstates."""

    chainstates: list[ChainState]


@BITCOIN.register("chainstates")
class ChainstatesCollector(Collector[BitcoinNode]):
    """The chain states and how far each is verified."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getchainstates."""
        states = _named((await self.node.rpc.call("getchainstates", into=ChainStates)).chainstates)
        return [
            *HEIGHT.samples({(name,): state.blocks for name, state in states.items()}),
            *PROGRESS.samples({(name,): state.verificationprogress for name, state in states.items()}),
            *VALIDATED.samples({(name,): state.validated for name, state in states.items()}),
            *CACHE.samples(
                {(name, "db"): state.coins_db_cache_bytes for name, state in states.items()}
                | {(name, "tip"): state.coins_tip_cache_bytes for name, state in states.items()}
            ),
        ]


def _named(states: Sequence[ChainState]) -> dict[str, ChainState]:
    """Name the chain states; one alone is main unless it rests on a snapshot that is not verified."""
    if len(states) == 1 and states[0].validated is not False:
        return {"main": states[0]}
    return {"snapshot" if state.snapshot_blockhash else "background": state for state in states}
