"""Reading what LogMetrics collected, for tests."""

from chainwatch.families.bitcoin.log.metrics import LogMetrics

Key = str | tuple[str, ...]


def counts(metrics: LogMetrics) -> dict[Key, float]:
    """Return counters and gauges by name, or by name and label values."""
    found: dict[Key, float] = {}
    for family in metrics.collect():
        for sample in family.samples:
            if family.type in ("counter", "gauge") and not sample.name.endswith("_created"):
                found[(sample.name, *sample.labels.values()) if sample.labels else sample.name] = sample.value
    return found


def positive(metrics: LogMetrics, name: str) -> dict[Key, float]:
    """Return the samples of one counter that are not zero, by label values."""
    return {key[1:]: value for key, value in counts(metrics).items() if key[0] == name and value}


def invalid_blocks(metrics: LogMetrics) -> dict[Key, float]:
    """Return the invalid blocks counted, by class and origin."""
    return positive(metrics, "bitcoin_invalid_blocks_total")


def histogram(metrics: LogMetrics, name: str, **labels: str) -> tuple[float, float] | None:
    """Return count and sum of a histogram, None where it is absent."""
    found: dict[str, float] = {}
    for family in metrics.collect():
        for sample in family.samples:
            if family.name == name and {k: v for k, v in sample.labels.items() if k != "le"} == labels:
                found[sample.name] = sample.value
    return (found[f"{name}_count"], found[f"{name}_sum"]) if found else None
