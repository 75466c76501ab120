"""Families from several places on one page."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from chainwatch.exposition import text
from chainwatch.exposition.merge import Merger


def gauge(name: str, **values: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, "Help.", labels=["place"])
    for place, value in values.items():
        family.add_metric([place], value)
    return family


def places(families: list[Metric]) -> dict[str, float]:
    (family,) = families
    return {sample.labels["place"]: sample.value for sample in family.samples}


def test_families_of_one_name_become_one_and_keep_their_order() -> None:
    first, other, second = gauge("x", a=1), gauge("y", a=1), gauge("x", b=2)
    merged = Merger().merge([first, other, second])
    assert [family.name for family in merged] == ["x", "y"]
    assert places(merged[:1]) == {"a": 1, "b": 2}


def test_families_shared_with_other_scrapes_stay_as_they_are() -> None:
    first, second = gauge("x", a=1), gauge("x", b=2)
    Merger().merge([first, second])
    assert (places([first]), places([second])) == ({"a": 1}, {"b": 2})


def test_a_series_from_two_places_is_there_once_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    merger = Merger()
    for _ in range(3):
        assert places(merger.merge([gauge("x", a=1), gauge("x", a=7, b=2)])) == {"a": 1, "b": 2}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "metric x" in caplog.text


def test_a_name_of_two_types_keeps_the_page_valid(caplog: pytest.LogCaptureFixture) -> None:
    families = [gauge("x", a=1), CounterMetricFamily("x", "Help.", value=3)]
    merged = Merger().merge(families)
    assert places(merged) == {"a": 1}
    assert "is a gauge and a counter" in caplog.text
    (parsed,) = text_string_to_metric_families(text.render(merged, {"chain": "c"}, True).decode())
    assert parsed.type == "gauge"
    with pytest.raises(
        ValueError, match="Received metadata after samples"
    ):  # so Prometheus' own client would say without us
        list(text_string_to_metric_families(text.render(families, {"chain": "c"}, True).decode()))
