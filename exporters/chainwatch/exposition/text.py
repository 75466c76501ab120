"""Metric families to the text that Prometheus reads: classic 0.0.4 and 1.0.0, and OpenMetrics 1.0.0.

The page is byte for byte what prometheus_client writes for the same families, several times faster: its
encoder holds the event loop for 35 to 60 ms at 10,000 series, and every stream with it.
A family that needs more than plain names and numbers (timestamps, exemplars, native histograms, names
outside the classic character set, `_created` samples) is handed to prometheus_client, and so is every
format that is not listed above.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from prometheus_client import Metric, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.exposition import generate_latest as generate_classic
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from chainwatch.exposition.metrics import Family

# Live counters and histograms would otherwise carry a `_created` sample beside each series, which doubles
# the small ones for a time that Prometheus 2.42 throws away. Every page is made here, so it is said here.
disable_created_metrics()  # type: ignore[no-untyped-call]

Render = Callable[[Iterable[Metric], Mapping[str, str]], bytes]
"""(families, constant labels) to a page."""

# Colons and leading double underscores have rules of their own in the library.
_PLAIN_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_MOVED_SUFFIXES = ("_created", "_gsum", "_gcount")
_go_float: Callable[[float], str] = floatToGoString
_EOF = b"# EOF\n"
# Heads and templates are the same at every scrape; an exporter has a few hundred of them.
_CACHED = 8192

# What choose_encoder answers for a page that is ours to write, to whether it is OpenMetrics. The schemes
# `dots` and `values` rename even plain names, so those pages are the library's.
_OURS = re.compile(
    r"(?:text/plain; version=(?:0\.0\.4|1\.0\.0)|(?P<openmetrics>application/openmetrics-text; version=1\.0\.0))"
    r"; charset=utf-8(?:; escaping=(?:underscores|allow-utf-8))?"
)
# The library repeats the version that the client asked for in its content type; nothing odd goes back.
_CONTENT_TYPE = re.compile(r"[a-z0-9/;=. _-]+", re.ASCII)


class _Families(NamedTuple):
    """As much of a registry as prometheus_client's encoders ask for."""

    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families


_Encoder = Callable[[Any], bytes]


def render(families: Iterable[Metric], constant_labels: Mapping[str, str], openmetrics: bool) -> bytes:
    """One page of these families, `constant_labels` added to each sample that has no such label of its own."""
    return _render(families, constant_labels, openmetrics, generate_openmetrics if openmetrics else generate_classic)


def negotiate(accept: str | None) -> tuple[Render, str]:
    """The renderer and the content type for a request's `Accept` header, chosen as prometheus_client chooses."""
    try:
        encoder, content_type = choose_encoder(accept or "")
    except TypeError:  # it compares version numbers, and cannot when one is a word
        encoder, content_type = choose_encoder("")
    if not _CONTENT_TYPE.fullmatch(content_type):
        encoder, content_type = choose_encoder("")
    ours = _OURS.fullmatch(content_type)
    if ours is None:
        return partial(_render_by_library, encoder=encoder), content_type
    return partial(_render, openmetrics=ours["openmetrics"] is not None, encoder=encoder), content_type


def _render(
    families: Iterable[Metric], constant_labels: Mapping[str, str], openmetrics: bool, encoder: _Encoder
) -> bytes:
    page = []
    for family in families:
        text = _plain_family(family, constant_labels, openmetrics)
        if text is None:
            page.append(_render_by_library([family], constant_labels, encoder).removesuffix(_EOF))
        else:
            # A lone surrogate (JSON allows "\ud800") must cost one character, not the page.
            page.append(text.encode("utf-8", "replace"))
    if openmetrics:
        page.append(_EOF)
    return b"".join(page)


def _render_by_library(families: Iterable[Metric], constant_labels: Mapping[str, str], encoder: _Encoder) -> bytes:
    return encoder(_Families([_with_labels(family, constant_labels) for family in families]))


def _with_labels(family: Metric, constant_labels: Mapping[str, str]) -> Metric:
    """A copy of the family whose samples carry the constant labels."""
    copy = Metric(family.name, family.documentation, family.type)
    copy.unit = family.unit
    for sample in family.samples:
        labels = {
            name: value.encode("utf-8", "replace").decode()
            for name, value in {**constant_labels, **sample.labels}.items()
        }
        copy.samples.append(sample._replace(labels=labels))
    return copy


def _plain_family(family: Metric, constant_labels: Mapping[str, str], openmetrics: bool) -> str | None:
    """The family's text, or None when only prometheus_client can write it."""
    write_head = _openmetrics_head if openmetrics else _classic_head
    head = write_head(family.name, family.documentation, family.type, family.unit)
    if head is None:
        return None
    constant = tuple(constant_labels.items())
    body = _rows(family, constant) if isinstance(family, Family) else _plain_samples(family, constant)
    return None if body is None else head + body


def _rows(family: Family, constant: tuple[tuple[str, str], ...]) -> str | None:
    """All sample lines of a family of ours: each series looks the same at every scrape but for its number."""
    definition, lines, current, series = family.definition, [], None, None
    for suffix, values, number in family.rows:
        if suffix != current:
            current, series = suffix, _series(definition.name + suffix, definition.labels_of(suffix), constant)
        if series is None:
            return None
        start = series.get(values)
        if start is None:
            if len(series) > _CACHED:  # as when labels come and go
                series.clear()
            labels = {**dict(constant), **dict(zip(definition.labels_of(suffix), values, strict=True))}
            start = series[values] = _series_text(definition.name + suffix, labels)
        # Go's format differs from Python's from a million on; infinities and NaN fail the comparison too.
        lines.append(f"{start} {repr(number) if -inf < number < 1e6 else _go_float(number)}\n")
    return "".join(lines)


@lru_cache(_CACHED)
def _series(
    name: str, labels: tuple[str, ...], constant: tuple[tuple[str, str], ...]
) -> dict[tuple[str, ...], str] | None:
    """The texts of one metric's series, by label values: filled as they come. None where only the library can."""
    return {} if all(map(_PLAIN_NAME.fullmatch, (name, *labels, *dict(constant)))) else None


@lru_cache(_CACHED)
def _classic_head(family: str, documentation: str, kind: str, _unit: str) -> str | None:
    if not _PLAIN_NAME.fullmatch(family):
        return None
    # OpenMetrics names a counter without `_total` and knows more types; this is the library's mapping.
    name, kind = {
        "counter": (family + "_total", "counter"),
        "info": (family + "_info", "gauge"),
        "stateset": (family, "gauge"),
        "gaugehistogram": (family, "histogram"),
        "unknown": (family, "untyped"),
    }.get(kind, (family, kind))
    documentation = documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {documentation}\n# TYPE {name} {kind}\n"


@lru_cache(_CACHED)
def _openmetrics_head(family: str, documentation: str, kind: str, unit: str) -> str | None:
    if not _PLAIN_NAME.fullmatch(family):
        return None
    unit_line = f"# UNIT {family} {unit}\n" if unit else ""
    return f"# HELP {family} {_escape(documentation)}\n# TYPE {family} {kind}\n{unit_line}"


def _plain_samples(family: Metric, constant: tuple[tuple[str, str], ...]) -> str | None:
    """All sample lines, or None when one of them is not plain.

    Samples of one name with the same label names share one template, so that a line costs one `%` and one
    `repr`. Values are put in unescaped and the text is counted afterwards: escaping is needed so seldom
    that looking for quotes in each value would be a third of the time.
    """
    lines: list[str] = []
    shapes: dict[tuple[str, int], _Shape | None] = {}
    quotes = 0
    for name, labels, value, timestamp, exemplar, native in family.samples:
        if timestamp is not None or exemplar is not None or native is not None or value is None:
            return None
        key = (name, len(labels))
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = _shape(family.name, name, tuple(labels), constant)
            if shape is None:
                return None
        number = float(value)
        # Go's format differs from Python's from a million on; infinities and NaN fail the comparison too.
        text = repr(number) if -inf < number < 1e6 else _go_float(number)
        try:
            lines.append(shape.template % (*shape.values(labels), text))
        except KeyError:  # as many labels as the first sample of this name, but others
            return None
        quotes += shape.quotes
    body = "".join(lines)
    if body.count('"') == quotes and "\\" not in body and body.count("\n") == len(lines):
        return body
    return "".join(_escaped_line(sample, constant) for sample in family.samples)


class _Shape(NamedTuple):
    """How every sample of one name and one set of label names is written."""

    template: str
    values: Callable[[dict[str, str]], tuple[str, ...]]
    quotes: int


@lru_cache(_CACHED)
def _shape(family: str, name: str, labels: tuple[str, ...], constant: tuple[tuple[str, str], ...]) -> _Shape | None:
    constant_labels = dict(constant)
    moved = name.removeprefix(family) in _MOVED_SUFFIXES  # the classic format puts these after the family
    if moved or not all(map(_PLAIN_NAME.fullmatch, (name, *labels, *constant_labels))):
        return None
    names = sorted({*labels, *constant_labels})
    pairs = ",".join(f'{n}="%s"' if n in labels else f'{n}="{constant_labels[n].replace("%", "%%")}"' for n in names)
    template = f"{name}{{{pairs}}} %s\n" if pairs else f"{name} %s\n"
    return _Shape(template, _values_of([n for n in names if n in labels]), 2 * len(names))


def _values_of(names: list[str]) -> Callable[[dict[str, str]], tuple[str, ...]]:
    """Takes these labels' values, in this order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda labels: tuple(labels[name] for name in names)


def _escaped_line(sample: Sample, constant: tuple[tuple[str, str], ...]) -> str:
    return f"{_series_text(sample.name, {**dict(constant), **sample.labels})} {_go_float(sample.value)}\n"


def _series_text(name: str, labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{n}="{_escape(v)}"' for n, v in sorted(labels.items()))
    return f"{name}{{{pairs}}}" if pairs else name


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
