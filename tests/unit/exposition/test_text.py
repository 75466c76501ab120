"""The page must be prometheus_client's, byte for byte, whatever the families hold."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Metric, Summary
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.exposition import generate_latest as generate_classic
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.samples import Exemplar, NativeHistogram, Timestamp

from chainwatch.exposition.text import negotiate, render

CHAIN = {"chain": "bitcoin-main"}
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_CLASSIC_ONLY = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2"
)


def labelled(families: list[Metric], constant: dict[str, str]) -> Any:
    """What the library is asked to encode: the same families, the constant labels put into each sample."""
    copies = []
    for family in families:
        copy = Metric(family.name, family.documentation, family.type)
        copy.unit = family.unit
        copy.samples = [s._replace(labels={**constant, **s.labels}) for s in family.samples]
        copies.append(copy)
    return SimpleNamespace(collect=lambda: copies)


def openmetrics_by_the_library(families: list[Metric], constant: dict[str, str]) -> bytes:
    page: bytes = generate_openmetrics(labelled(families, constant))
    return page


def assert_like_the_library(families: list[Metric], constant: dict[str, str]) -> None:
    assert render(families, constant, openmetrics=False) == generate_classic(labelled(families, constant))
    assert render(families, constant, openmetrics=True) == openmetrics_by_the_library(families, constant)


hostile_text = st.text(
    st.one_of(st.sampled_from('"\\\n\r{}=,#% \t\x00é€😀'), st.characters(codec="utf-8")), max_size=12
)
plain_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
any_names = st.one_of(plain_names, st.from_regex(r"[a-zA-Z_:.é-]{1,8}", fullmatch=True))
numbers = st.one_of(
    st.floats(),
    st.integers(-(2**64), 2**64),
    st.booleans(),
    st.sampled_from(
        [0.0, -0.0, math.inf, -math.inf, math.nan, 999999, 1e6, 1000000.5, 1e15, 1e16, 1e21, 1e300, 5e-324, -1e6]
    ),
)


@st.composite
def simple_families(draw: st.DrawFn, names: st.SearchStrategy[str] = plain_names) -> Any:
    family_type = draw(st.sampled_from([GaugeMetricFamily, CounterMetricFamily, UnknownMetricFamily]))
    label_names = draw(st.lists(names, max_size=4, unique=True))
    unit = draw(st.sampled_from(["", "bytes"]))
    family: Any = family_type(draw(names), draw(hostile_text), labels=label_names, unit=unit)
    values = st.lists(hostile_text, min_size=len(label_names), max_size=len(label_names))
    for label_values, number in draw(st.lists(st.tuples(values, numbers), max_size=6)):
        family.add_metric(label_values, number)
    return family


constant_labels = st.dictionaries(plain_names, hostile_text, max_size=3)


@given(st.lists(simple_families(), max_size=4), constant_labels)
def test_any_plain_family_is_written_as_the_library_writes_it(families: list[Metric], constant: dict[str, str]) -> None:
    assert_like_the_library(families, constant)


@given(st.lists(simple_families(any_names), max_size=4), constant_labels)
def test_names_outside_the_classic_set_are_written_as_the_library_writes_them(
    families: list[Metric], constant: dict[str, str]
) -> None:
    assert_like_the_library(families, constant)


@given(
    st.lists(numbers, min_size=1, max_size=12),
    st.lists(hostile_text, min_size=1, max_size=4),
    hostile_text,
    hostile_text,
)
def test_histograms_and_infos_are_written_as_the_library_writes_them(
    counts: list[float], label_values: list[str], version: str, documentation: str
) -> None:
    histogram = HistogramMetricFamily("h_seconds", documentation, labels=("method",))
    gauge_histogram = GaugeHistogramMetricFamily("gh", documentation, labels=("method",))
    summary = SummaryMetricFamily("s", documentation, labels=("method",))
    buckets = [(str(index), count) for index, count in enumerate(counts)] + [("+Inf", 99)]
    for value in label_values:
        histogram.add_metric((value,), buckets, counts[0])
        gauge_histogram.add_metric((value,), buckets, counts[0])
        summary.add_metric((value,), 7, counts[0])
    info = InfoMetricFamily("chainwatch_node", documentation, {"version": version, "client": "bitcoind"})
    states = StateSetMetricFamily("state", documentation, {"on": True, "off": False})
    assert_like_the_library([histogram, gauge_histogram, summary, info, states], CHAIN)


def live_families() -> list[Metric]:
    counter = Counter("blocks_total", "Blocks.", ["origin"], registry=None)
    counter.labels('net"work').inc(3)
    histogram = Histogram("depth_blocks", "Depth.", ["origin"], registry=None, buckets=(1, 2.5, 100))
    histogram.labels("operator").observe(2)
    gauge = Gauge("tip", "Height.", registry=None)
    gauge.set(1_000_000)
    summary = Summary("took_seconds", "Time.", registry=None)
    summary.observe(0.25)
    enum = Enum("mode", "Mode.", states=["a", "b"], registry=None)
    info = Info("build", "Build.", registry=None)
    info.info({"version": "1"})
    return [family for live in (counter, histogram, gauge, summary, enum, info) for family in live.collect()]


def test_live_metrics_are_written_as_the_library_writes_them() -> None:
    assert_like_the_library(live_families(), CHAIN)


def test_live_metrics_carry_no_created_samples() -> None:
    assert b"_created" not in render(live_families(), CHAIN, openmetrics=True)


def test_created_samples_given_on_purpose_are_kept_where_the_library_puts_them() -> None:
    counter = CounterMetricFamily("x", "X.", labels=("a",))
    counter.add_metric(("1",), 1, created=1700000000.5)
    counter.add_metric(("2",), 2, created=1700000001.5)
    assert b"# TYPE x_created gauge" in render([counter], CHAIN, openmetrics=False)
    assert_like_the_library([counter, GaugeMetricFamily("y", "Y.", 1)], CHAIN)


def test_timestamps_exemplars_and_native_histograms_are_written_as_the_library_writes_them() -> None:
    stamped = GaugeMetricFamily("stamped", "S.", labels=("a",))
    stamped.add_metric(("x",), 1)
    stamped.add_metric(("y",), 1, timestamp=Timestamp(1700000000, 5))
    exemplary = CounterMetricFamily("exemplary", "E.", 3, exemplar=Exemplar({"id": "7"}, 1.5, 1700000000.0))
    native = Metric("native", "N.", "histogram")
    native.add_sample("native", {}, 0, None, None, NativeHistogram(4, 6, 3, 2.938735877055719e-39, 1))
    assert_like_the_library([stamped, exemplary, native], CHAIN)


def test_a_sample_without_a_value_is_left_to_the_library() -> None:
    empty = Metric("empty", "E.", "gauge")
    empty.add_sample("empty", {}, None)  # type: ignore[arg-type]
    assert render([empty], CHAIN, openmetrics=True) == openmetrics_by_the_library([empty], CHAIN)
    with pytest.raises(TypeError):
        render([empty], CHAIN, openmetrics=False)


def test_a_samples_own_label_is_not_overwritten_by_the_constant_one() -> None:
    family = GaugeMetricFamily("m", "M.", labels=("chain",))
    family.add_metric(("litecoin-main",), 1)
    assert b'm{chain="litecoin-main"} 1.0' in render([family], CHAIN, openmetrics=False)


def test_a_lone_surrogate_costs_one_character_and_not_the_page() -> None:
    info = InfoMetricFamily("node", "N.", {"version": "evil\ud800"})
    stamped = GaugeMetricFamily("stamped", "S.", labels=("a",))
    stamped.add_metric(("evil\udfff",), 1, timestamp=1)
    page = render([info, stamped], CHAIN, openmetrics=False)
    assert b'version="evil?"' in page
    assert b'a="evil?"' in page


def test_an_empty_page_is_empty_and_in_openmetrics_still_ends() -> None:
    assert render([], CHAIN, openmetrics=False) == b""
    assert render([], CHAIN, openmetrics=True) == b"# EOF\n"


ACCEPTS = [
    None,
    "",
    "*/*",
    "text/html,application/xhtml+xml,*/*;q=0.8",
    PROMETHEUS_2_42,
    PROMETHEUS_3,
    PROMETHEUS_3_CLASSIC_ONLY,
    "application/openmetrics-text",
    "application/openmetrics-text;version=0.0.1",
    "application/openmetrics-text;version=2.0.0",
    "application/openmetrics-text;version=1.0.0;escaping=dots",
    "application/openmetrics-text;version=1.0.0;escaping=values",
    "application/openmetrics-text; version=1.0.0; escaping=underscores",
    "application/openmetrics-text;version=1.0.0;escaping=unheard-of",
    "text/plain;version=1.0.0;escaping=values",
    "text/plain;version=1.0.0;escaping=dots",
    "text/plain;version=0.0.4",
]


@pytest.mark.parametrize("accept", ACCEPTS)
def test_page_and_content_type_are_the_librarys_for_every_accept_header(accept: str | None) -> None:
    odd = GaugeMetricFamily("odd.näme", "Dotted.", labels=("läbel.1",))
    odd.add_metric(('v"',), 1)
    reserved = GaugeMetricFamily("reserved", "R.", labels=("__own",))
    reserved.add_metric(("v",), 1)
    families = [*live_families(), odd, reserved]
    encoder, content_type = choose_encoder(accept or "")
    ours, our_type = negotiate(accept)
    assert our_type == content_type
    assert ours(families, CHAIN) == encoder(labelled(families, CHAIN))


def test_prometheus_gets_the_format_it_asks_for_first() -> None:
    assert negotiate(PROMETHEUS_2_42)[1].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert negotiate(PROMETHEUS_3)[1] == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    )
    assert negotiate(PROMETHEUS_3_CLASSIC_ONLY)[1] == "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=latest", "application/openmetrics-text;version=2.0.0.\x01é<b>"]
)
def test_a_version_that_is_no_number_gets_the_classic_page(accept: str) -> None:
    renderer, content_type = negotiate(accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert renderer([GaugeMetricFamily("m", "M.", 1)], CHAIN).startswith(b"# HELP m M.\n")


def test_samples_of_one_family_may_differ_in_their_label_names() -> None:
    family = Metric("mixed", "M.", "gauge")
    family.add_sample("mixed", {"b": "1", "a": "2"}, 1)
    family.add_sample("mixed", {"a": "2", "b": "1"}, 2)
    family.add_sample("mixed", {"a": "2", "c": "1"}, 3)
    family.add_sample("mixed", {"a": "2"}, 4)
    family.add_sample("mixed", {}, 5)
    assert_like_the_library([family], CHAIN)
    assert_like_the_library([family], {})
