"""What a board is made of: signals, panels, rows, variables.

In queries `{*}` stands for the selector of the board that shows the signal, such as
`{chain=~"$chain",job=~"$job",instance=~"$instance"}`, and `{type="prevote",*}` for more besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Unit(StrEnum):
    """How Grafana writes a number: its own unit ids."""

    NUMBER = "locale"  # every digit: heights, counts
    SHORT = "short"  # 1.2 K
    BYTES = "bytes"
    BYTES_PER_SECOND = "binBps"
    SECONDS = "s"
    RATIO = "percentunit"  # 0 to 1, shown as percent
    PER_SECOND = "cps"
    CALLS_PER_SECOND = "suffix:calls/s"
    FRAMES_PER_SECOND = "suffix:frames/s"
    TX_PER_SECOND = "suffix:tx/s"
    LINES_PER_SECOND = "suffix:lines/s"
    VOTES_PER_SECOND = "suffix:votes/s"
    IO_PER_SECOND = "iops"
    AGO = "dateTimeFromNow"  # of milliseconds since 1970
    FEERATE = "suffix:sat/vB"
    SATOSHIS = "suffix:sat"
    COINS = "suffix:coins"  # 1e8 satoshis each
    BLOCKS = "suffix:blocks"
    HASHES_PER_SECOND = "H/s"
    HEX = "hex"
    TEXT = "string"


class Source(StrEnum):
    """Which data source answers: the variable of that name."""

    PROMETHEUS = "datasource"
    LOKI = "loki_datasource"


@dataclass(frozen=True, slots=True)
class Query:
    """One query, and what its series are called."""

    expr: str
    legend: str = "{{instance}}"


# Values of variables of another board, one or several of each.
Chosen = Mapping[str, str | tuple[str, ...]]
# From a value on (None: from the lowest), in this colour of Grafana's palette: green, yellow, orange, red, blue, text.
Level = tuple[float | None, str]
# What a value is shown as: its text and its colour, None for the panel's own.
Mappings = Mapping[float, tuple[str, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing that can be seen, on any board.

    `description` says what it is and what is normal. `threshold` is the name of a threshold of prometheus/rules: it is
    drawn as a line where it stands for the chain in question. `levels` colour a single value.
    """

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    source: Source = Source.PROMETHEUS
    threshold: str | None = None
    levels: tuple[Level, ...] = ()
    mappings: Mappings = field(default_factory=dict)
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A signal in one of Grafana's panel types, `width` of 24 columns wide and `height` units of 30 pixels high.

    `logs` are values of variables of the board Logs, such as `{"event": ("rejected", "rejected_sv")}`: the panel links
    to these lines.
    """

    type: str
    signal: Signal
    width: int
    height: int
    title: str | None = None
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)  # fieldConfig.defaults.custom
    defaults: Json = field(default_factory=dict)  # more of fieldConfig.defaults
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()
    instant: bool = False
    as_table: bool = False
    as_heatmap: bool = False
    points: int | None = None  # how many values over the time range at most; one for each pixel without it
    logs: Chosen | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title; folded rows are for detail."""

    title: str
    panels: Sequence[Panel]
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top of a board: values of a label of a metric, or free text where `query` is None."""

    name: str
    query: str | None  # such as label_values(chainwatch_up, chain)
    label: str = ""  # what the person reads; the name by default
    source: Source = Source.PROMETHEUS
    multi: bool = True
    everything: bool = True  # whether All can be chosen, which is then the default
    regex: str = ""  # of a query_result(...): picks `value` and `text` of each series, whose order stays
    all_value: str | None = None  # what All stands for in a selector, where it is not `.+`; "" for the list of values
    hidden: bool = False


# The least time between two values of a mark's query.
MARK_STEP = "30s"


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks at times: where the query has a value, or, with `at_value`, at the milliseconds since 1970 that it has."""

    name: str
    expr: str
    title: str
    color: str
    at_value: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board; `scope` are the variables whose labels every selector of it carries.

    `family` is set where a board shows one alone: the name is the job of its logs in Loki too.
    """

    uid: str
    title: str
    folder: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable]
    scope: Sequence[str] = ("chain", "job", "instance")
    annotations: Sequence[Annotation] = ()
    family: str | None = None
    since: str = "now-3h"
    refresh: str = "30s"

    @property
    def file(self) -> str:
        """Where the JSON lies below `json/`."""
        return f"{self.folder}/{self.uid.removeprefix('chainwatch-')}.json"
