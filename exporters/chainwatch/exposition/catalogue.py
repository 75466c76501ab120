"""The catalogue of all metrics as a document, made from their definitions."""

from collections.abc import Iterable

from chainwatch.exposition.metrics import Definition, catalogue

_INTRODUCTION = """# Metrics

Made by `chainwatch metrics` from the definitions in the code; do not edit.
Every sample also carries the label `chain`, such as `bitcoin-main`. What a node does not report is absent, never zero.
"""
# Sections come in the order of their titles, but for the one that all families share.
_SHARED = "chainwatch"


def as_markdown() -> str:
    """Return every metric, in a table for each prefix."""
    tables: dict[str, list[Definition]] = {_SHARED: []}
    for definition in catalogue().values():
        tables.setdefault(definition.name.partition("_")[0], []).append(definition)
    parts = [_INTRODUCTION]
    for prefix, definitions in tables.items():
        title = "Every family" if prefix == _SHARED else prefix.capitalize()
        parts.append(f"\n## {title}\n\n{_table(definitions)}")
    parts.append(
        "\n## The process\n\n"
        "`process_*` (CPU, memory, file descriptors, start time), as every Prometheus client exports them.\n"
    )
    return "".join(parts)


def _table(definitions: Iterable[Definition]) -> str:
    rows = ["| metric | type | labels | meaning |\n|---|---|---|---|\n"]
    for definition in definitions:
        labels = ", ".join(f"`{label}`" for label in definition.labels)
        meaning = definition.help.replace("|", "\\|")
        rows.append(f"| `{definition.name}` | {definition.kind} | {labels} | {meaning} |\n")
    return "".join(rows)
