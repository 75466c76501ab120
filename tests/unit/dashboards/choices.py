"""Whether what a PromQL expression answers depends on the choices at the top of a board."""

from __future__ import annotations

from typing import Any

import promql_parser

from tests.unit.dashboards.labels import labels_of

# Others' metrics, by the beginning of their name, and by which choices they can be selected.
_NATIVE: dict[str, frozenset[str]] = {
    "up": frozenset({"job", "instance"}),
    "scrape_": frozenset({"job", "instance"}),
    "process_": frozenset({"job", "instance"}),
    "node_": frozenset({"job", "instance"}),
    "prometheus_": frozenset(),  # of the site, whatever is chosen
    "alertmanager_": frozenset(),
    "ALERTS": frozenset({"chain"}),  # those about a chain have no instance, and are about every node of it
}
# A machine is chosen by variables of its own: its job is never that of the node on it.
_OF_A_MACHINE = {"job": "host_job", "instance": "host"}
# How a vector stands to a choice: there is nothing to choose, it is chosen, or it is there whatever is chosen.
NEUTRAL, CHOSEN, FREE = range(3)


def free(expr: Any, name: str) -> bool:
    """Whether an expression has values that the choice of this name should have left out."""
    return _standing(expr, name) == FREE


def _standing(node: Any, name: str) -> int:
    if isinstance(node, promql_parser.VectorSelector):
        return _selector(node, name)
    if isinstance(node, promql_parser.BinaryExpr):
        return _binary(node, name)
    parts = [getattr(node, part, None) for part in ("expr", "vector_selector")]
    found = [_standing(part, name) for part in (*parts, *getattr(node, "args", [])) if part is not None]
    return max(found, default=NEUTRAL)


def _selector(node: Any, name: str) -> int:
    chosen = [name, _OF_A_MACHINE.get(name, name)] if str(node.name).startswith("node_") else [name]
    # "" is what has no such label, and so is of nothing else that could be chosen.
    values = {"", *(f"${one}" for one in chosen)}
    if any(one.name == name and one.value.strip("|") in values for one in node.matchers.matchers):
        return CHOSEN
    for start, choices in _NATIVE.items():
        if str(node.name).startswith(start):
            return FREE if name in choices else NEUTRAL
    labels = labels_of(str(node.name))
    return FREE if labels is None or name in labels else NEUTRAL


def _binary(node: Any, name: str) -> int:
    left, right = _standing(node.lhs, name), _standing(node.rhs, name)
    operation = str(node.op)
    if operation == "or":
        return max(left, right)
    if operation == "unless":
        return left
    # What meets nothing on the other side is not in the answer.
    return CHOSEN if CHOSEN in (left, right) else max(left, right)
