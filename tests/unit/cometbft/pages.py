"""What a page says: values of series, by name and labels."""

from collections.abc import Iterable

from prometheus_client import Metric


def values(families: Iterable[Metric]) -> dict[str, float]:
    """Every series as `name{first label's value,second's}`, without braces where there is no label."""
    found = {}
    for family in families:
        for sample in family.samples:
            labels = f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""
            assert sample.name + labels not in found, f"{sample.name}{labels} is there twice"
            found[sample.name + labels] = sample.value
    return found
