"""Definitions of metrics, and the families they make."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import pytest
from prometheus_client import Metric

from chainwatch.exposition import metrics, text
from chainwatch.exposition.metrics import catalogue, counter, gauge, histogram


@pytest.fixture(autouse=True)
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_catalogue", {})


def samples(families: list[Metric]) -> list[tuple[str, dict[str, str], float]]:
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def test_a_value_becomes_a_family_of_one_sample() -> None:
    size = gauge("test_size_bytes", "How large.")
    (family,) = size.sample(7)
    assert (family.name, family.type, family.documentation) == ("test_size_bytes", "gauge", "How large.")
    assert samples([family]) == [("test_size_bytes", {}, 7)]
    assert samples(size.sample(True)) == [("test_size_bytes", {}, 1)]


def test_a_value_that_is_not_known_is_absent_and_zero_is_there() -> None:
    size = gauge("test_size_bytes", "How large.")
    assert size.sample(None) == []
    assert samples(size.sample(0)) == [("test_size_bytes", {}, 0)]
    peers = gauge("test_peers", "Peers.", labels=("direction",))
    assert peers.samples({("inbound",): None}) == []
    assert samples(peers.samples({("inbound",): None, ("outbound",): 0})) == [
        ("test_peers", {"direction": "outbound"}, 0)
    ]


def test_a_family_is_fresh_at_every_scrape() -> None:
    peers = gauge("test_peers", "Peers.", labels=("direction",))
    peers.samples({("inbound",): 1})
    assert samples(peers.samples({("outbound",): 2})) == [("test_peers", {"direction": "outbound"}, 2)]


def test_a_counter_read_from_the_node_keeps_its_name() -> None:
    received = counter("test_received_bytes_total", "Bytes.")
    assert samples(received.sample(5)) == [("test_received_bytes_total", {}, 5)]


def test_known_labels_of_a_live_metric_start_at_zero() -> None:
    reorgs = counter("test_reorgs_total", "Reorgs.", labels=("origin",)).live(("network",), ("operator",))
    reorgs.labels("network").inc()
    assert samples(list(reorgs.collect())) == [
        ("test_reorgs_total", {"origin": "network"}, 1),
        ("test_reorgs_total", {"origin": "operator"}, 0),
    ]
    depth = histogram("test_depth_blocks", "Depth.", buckets=(1, 2), labels=("origin",)).live(("network",))
    counts = {labels["le"]: value for name, labels, value in samples(list(depth.collect())) if name.endswith("_bucket")}
    assert counts == {"1.0": 0, "2.0": 0, "+Inf": 0}


def test_two_live_metrics_of_one_definition_count_apart() -> None:
    definition = counter("test_things_total", "Things.")
    first, second = definition.live(), definition.live()
    first.inc(3)
    assert samples(list(second.collect())) == [("test_things_total", {}, 0)]


def test_live_metrics_carry_no_creation_times() -> None:
    live = counter("test_things_total", "Things.").live()
    page = text.render(list(live.collect()), {}, False)
    assert b"_created" not in page


class Word(StrEnum):
    IN = "in"


@pytest.mark.parametrize(
    "values",
    [
        {"inbound": 1},
        {("inbound", "extra"): 1},
        {(): 1},
        {(None,): 1},
        {(7,): 1},
        {(b"inbound",): 1},
        {("inbound",): "many"},
        {("inbound",): [1]},
        {("inbound",): 10**400},
    ],
)
def test_labels_or_values_that_are_none_fail_where_they_are_made(values: dict[object, object]) -> None:
    peers = gauge("test_peers", "Peers.", labels=("direction",))
    with pytest.raises((ValueError, TypeError, OverflowError)):
        peers.samples(values)  # type: ignore[type-var, arg-type]


def test_a_word_of_a_closed_set_is_a_label() -> None:
    peers = gauge("test_peers", "Peers.", labels=("direction",))
    page = text.render(peers.samples({(Word.IN,): 1}), {}, False)
    assert b'test_peers{direction="in"} 1.0\n' in page


@pytest.mark.parametrize(
    "define",
    [
        lambda: gauge("test_things_total", "A gauge named like a counter."),
        lambda: counter("test_things", "A counter named like a gauge."),
        lambda: gauge("Test_Things", "Upper case."),
        lambda: gauge("things", "No prefix."),
        lambda: gauge("test_thíngs", "An accent."),
        lambda: gauge("test_things", ""),
        lambda: gauge("test_things", "Its own chain.", labels=("chain",)),
        lambda: histogram("test_things", "Its own le.", buckets=(1,), labels=("le",)),
    ],
)
def test_a_definition_that_breaks_the_rules_is_refused(define: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"test_|Test_|things"):
        define()
    assert catalogue() == {}


@pytest.mark.parametrize("first", ["test_things", "test_things_total"])
def test_a_name_is_defined_once_with_or_without_total(first: str) -> None:
    (counter if first.endswith("_total") else gauge)(first, "First.")
    for define, name in ((gauge, "test_things"), (counter, "test_things_total")):
        with pytest.raises(ValueError, match="defined twice"):
            define(name, "Second.")


def test_the_catalogue_is_sorted_by_name() -> None:
    gauge("test_b", "B.")
    gauge("test_a", "A.")
    assert list(catalogue()) == ["test_a", "test_b"]
