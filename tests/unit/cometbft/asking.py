"""How tests of the client look at what it counted."""

from chainwatch.families.cometbft.client import CometbftRpc


def counted(rpc: CometbftRpc, name: str) -> dict[tuple[str, ...], float]:
    """Samples of one of the client's own metrics, by label values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in rpc.metrics.collect()
        for sample in family.samples
        if sample.name == name
    }


def failures(rpc: CometbftRpc) -> dict[tuple[str, ...], float]:
    return counted(rpc, "chainwatch_rpc_failures_total")
