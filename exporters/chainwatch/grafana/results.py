"""What a data source answers through Grafana, as the page "Query a data source" documents it, as far as we read it.

Null stands for a list or for labels that are empty: Grafana's Go writes those so.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Column(Struct):
    """What is known of a column: the labels of its series."""

    labels: dict[str, str] | None = None


class Schema(Struct):
    """The columns of a frame."""

    fields: list[Column] | None = None


class Data(Struct):
    """What stands in the columns: [[times], [numbers]]."""

    values: list[list[Any] | None] | None = None


class Frame(Struct):
    """A table, as a rule of one series."""

    schema: Schema = field(default_factory=Schema)
    data: Data = field(default_factory=Data)


class QueryResult(Struct):
    """The answer to one query."""

    frames: list[Frame] | None = None
    error: str | None = None

    def has_data(self) -> bool:
        """Tell whether a frame has a row."""
        return any(column for frame in self.frames or [] for column in frame.data.values or [])

    def series(self) -> list[dict[str, str]]:
        """Return the labels of the series that have any."""
        columns = [column for frame in self.frames or [] for column in frame.schema.fields or []]
        return [column.labels for column in columns if column.labels]
