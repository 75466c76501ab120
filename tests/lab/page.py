"""A page of metrics, read as Prometheus would."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Page:
    """The samples of one page in the classic text format. `text` is the page itself."""

    text: str

    def samples(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Values by labels, of the samples with this full name (`x_total`, `x_bucket`) and at least these labels."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def get(self, name: str, **labels: str) -> float | None:
        """The only sample's value, None when there is no such sample. Raises LookupError when there are several."""
        found = self.samples(name, **labels)
        if len(found) > 1:
            raise LookupError(f"{name}{labels or ''} fits {len(found)} samples: {list(found)}")
        return next(iter(found.values()), None)

    def value(self, name: str, **labels: str) -> float:
        """The only sample's value. Raises LookupError when there is none or more than one."""
        value = self.get(name, **labels)
        if value is None:
            others = sorted({line.partition(" ")[0] for line in self.text.splitlines() if line.startswith(name)})
            raise LookupError(f"the page has no {name}{labels or ''}; it has {others or 'nothing of that name'}")
        return value

    def names(self) -> set[str]:
        """Names of all families on the page."""
        return {family.name for family in text_string_to_metric_families(self.text)}
