"""Which labels the answer to a PromQL expression can have, and which labels an expression names in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import promql_parser
from promql_parser import AggModifierType, LabelModifierType, VectorMatchCardinality

from dashboards.signals import host
from tests.rules import rules, without_suffix
from tests.unit.test_rules import exported_labels

Labels = frozenset[str] | None
"""Names of labels; None where nobody here knows them, as of others' metrics."""

# What others export, with its labels where they matter: the way to a node or a machine. Names are whole: one that is
# misspelt has no values, and its panel would be empty for ever.
FOREIGN: dict[str, Labels] = {
    # Prometheus 2.42 adds these to every scrape.
    **dict.fromkeys(("up", "scrape_duration_seconds", "scrape_samples_scraped"), frozenset({"job", "instance"})),
    # Prometheus 2.42 of itself.
    "prometheus_notifications_errors_total": None,
    "prometheus_rule_evaluation_failures_total": None,
    "prometheus_sd_discovered_targets": None,
    # Alertmanager 0.25.
    "alertmanager_notifications_failed_total": None,
    # Every exporter, by its Prometheus client; seen in all three.
    "process_cpu_seconds_total": None,
    "process_max_fds": None,
    "process_open_fds": None,
    "process_resident_memory_bytes": None,
    "process_start_time_seconds": None,
    # node_exporter 1.5.
    **dict.fromkeys(host.NATIVE),
}
_ALERTS = {"ALERTS": {"alertname", "alertstate"}, "ALERTS_FOR_STATE": {"alertname"}}


@cache
def labels_of(metric: str) -> Labels:
    """The labels of a metric. Raises LookupError for one that nobody exports or records."""
    if metric in _ALERTS:
        found = [(Reading(rule.expr).labels or frozenset()) | rule.labels.keys() for rule in rules() if rule.is_alert]
        return frozenset().union(_ALERTS[metric], *found)
    exported = exported_labels()
    if known := exported.get(metric) or exported.get(without_suffix(metric)):
        return frozenset(known - ({"le"} if not metric.endswith("_bucket") else set()))
    if recorded := [rule for rule in rules() if not rule.is_alert and rule.name == metric]:
        several = [(Reading(rule.expr).labels, rule.labels.keys()) for rule in recorded]
        return frozenset().union(*((labels or frozenset()) | more for labels, more in several))
    if metric in FOREIGN:
        return FOREIGN[metric]
    raise LookupError(f"nobody exports or records {metric}")


class Reading:
    """An expression, read: `labels` of its answer, and `complaints` about labels and metrics that do not exist."""

    def __init__(self, expr: str) -> None:
        self.complaints: list[str] = []
        self.labels = self._of(promql_parser.parse(expr))

    def _of(self, node: Any) -> Labels:
        read: dict[type, Callable[[Any], Labels]] = {
            promql_parser.VectorSelector: self._vector,
            promql_parser.MatrixSelector: self._matrix,
            promql_parser.SubqueryExpr: self._inner,
            promql_parser.ParenExpr: self._inner,
            promql_parser.UnaryExpr: self._inner,
            promql_parser.NumberLiteral: self._constant,
            promql_parser.StringLiteral: self._constant,
            promql_parser.AggregateExpr: self._aggregate,
            promql_parser.Call: self._call,
            promql_parser.BinaryExpr: self._binary,
        }
        return read[type(node)](node)

    def _need(self, names: Iterator[str] | list[str], labels: Labels, what: str) -> None:
        """Complain about names that are none of these labels."""
        if labels is not None and (missing := sorted(set(names) - labels)):
            self.complaints.append(f"{what} has no label {', '.join(missing)}")

    def _vector(self, node: Any) -> Labels:
        try:
            labels = labels_of(str(node.name))
        except LookupError as error:
            self.complaints.append(str(error))
            return None
        self._need([one.name for one in node.matchers.matchers], labels, str(node.name))
        return labels

    def _matrix(self, node: Any) -> Labels:
        return self._of(node.vector_selector)

    def _inner(self, node: Any) -> Labels:
        return self._of(node.expr)

    def _constant(self, node: Any) -> Labels:
        return frozenset()

    def _aggregate(self, node: Any) -> Labels:
        inner, modifier, operation = self._of(node.expr), node.modifier, str(node.op)
        named = list(modifier.labels) if modifier else []
        self._need(named, inner, f"what {operation} ({', '.join(named)}) is of")
        if operation in ("topk", "bottomk", "limitk"):
            return inner
        if modifier is not None and modifier.type == AggModifierType.Without:
            return None if inner is None else inner - set(named)
        return frozenset(named)

    def _call(self, node: Any) -> Labels:
        name, arguments = node.func.name, [self._of(one) for one in node.args]
        if name in ("scalar", "vector", "time", "absent", "absent_over_time"):
            return frozenset()
        if name == "histogram_quantile":
            self._need(["le"], arguments[1], "what histogram_quantile is of")
            return None if arguments[1] is None else arguments[1] - {"le"}
        if name == "quantile_over_time":
            return arguments[1]
        if name in ("label_replace", "label_join"):
            source = [node.args[3].val] if name == "label_replace" else [one.val for one in node.args[3:]]
            self._need([one for one in source if one], arguments[0], f"what {name} is of")
            return None if arguments[0] is None else arguments[0] | {node.args[1].val}
        return arguments[0] if arguments else frozenset()

    def _binary(self, node: Any) -> Labels:
        left, right = self._of(node.lhs), self._of(node.rhs)
        operation, modifier = str(node.op), node.modifier
        matching = modifier.matching if modifier else None
        if matching is not None and matching.type == LabelModifierType.Include:
            for side, labels in (("left", left), ("right", right)):
                self._need(list(matching.labels), labels, f"the {side} side of {operation} on")
        if "or" in operation:
            return None if left is None or right is None else left | right
        if operation.endswith(("and", "unless")):
            return left
        return self._matched(left, right, modifier, matching)

    def _matched(self, left: Labels, right: Labels, modifier: Any, matching: Any) -> Labels:
        """Labels of arithmetic or a comparison."""
        extra = set(modifier.group_labels or []) if modifier else set()
        if modifier and modifier.card == VectorMatchCardinality.ManyToOne:
            self._need(list(extra), right, "the one side of group_left")
            return None if left is None else left | extra
        if modifier and modifier.card == VectorMatchCardinality.OneToMany:
            self._need(list(extra), left, "the one side of group_right")
            return None if right is None else right | extra
        if matching is not None and matching.type == LabelModifierType.Include:
            return frozenset(matching.labels)
        if left is None or right is None:
            return None
        if matching is not None:
            return (left | right) - set(matching.labels)
        return left or right  # one side may be a number
