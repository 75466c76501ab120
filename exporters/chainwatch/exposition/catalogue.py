"""The catalogue of all metrics as a document, made from their definitions."""

from collections.abc import Iterable

from chainwatch.exposition.metrics import Definition, catalogue

_INTRODUCTION = """# Metrics

Made by `chainwatch metrics` from the definitions in the code; do not edit.
Every sample also carries the label `chain`, such as `bitcoin-main`. What a node does not report is absent, never zero.
"""
# Prefix of a metric's name, and the heading of its section.
_SECTIONS = (("chainwatch_", "Every family"), ("bitcoin_", "Bitcoin family"))


def as_markdown() -> str:
    """Return every metric in a table for each prefix."""
    defined = catalogue().values()
    parts = [_INTRODUCTION]
    for prefix, title in _SECTIONS:
        parts.append(f"\n## {title}\n\n")
        parts.append(_table(definition for definition in defined if definition.name.startswith(prefix)))
    parts.append(
        "\n## The process\n\n`process_*` (CPU, memory, file descriptors, start time) as every Prometheus client exports them.\n"
    )
    return "".join(parts)


def _table(definitions: Iterable[Definition]) -> str:
    rows = ["| metric | type | labels | meaning |\n|---|---|---|---|\n"]
    for definition in definitions:
        labels = ", ".join(f"`{label}`" for label in definition.labels)
        meaning = definition.help.replace("|", "\\|")
        rows.append(f"| `{definition.name}` | {definition.kind} | {labels} | {meaning} |\n")
    return "".join(rows)
