"""Whether LogQL parses, where no Loki is at hand: the part of the language that boards and rules use, or nearly so.

It is stricter than Loki: what nobody here writes is refused. To write more, add it; test_logql.py asks a real Loki.

    query  = lines | values
    lines  = "{" matcher ("," matcher)* "}" (line filter | parser | "line_format" text | label filter | "unwrap" label)*
    values = operand (operator (operand | number))*, each operand "(" values ")", vector(), label_replace(), or one of
             range function "(" [number ","] lines "[" duration "]" ["offset" duration] ")"
             aggregation [by or without] "(" [number ","] values ")"
"""

from __future__ import annotations

import ast
import re
from typing import Any

import re2

TOKEN = re.compile(
    r"""\s* (?: (?P<TEXT>"(?:[^"\\\n]|\\(?:[abfnrtv\\"]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}))*"|`[^`]*`)
    | (?P<DURATION>(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+)(?!\w)
    | (?P<NUMBER>\d+(?:\.\d+)?)(?![\w.])
    | (?P<WORD>[a-zA-Z_]\w*)
    | (?P<SIGN>\|[=~]|![=~]|=~|[=<>]=|[-+*/%^=<>|{}()\[\],])
    | (?P<END>\Z) | (?P<OTHER>.))""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
SETS = ("or", "and", "unless")
# From what binds least to what binds most.
OPERATORS = (SETS[:1], SETS[1:], ("==", "!=", ">", ">=", "<", "<="), ("+", "-"), ("*", "/", "%"), ("^",))
MATCHES = ("=", "!=", "=~", "!~")
AGGREGATIONS = ("avg", "bottomk", "count", "max", "min", "stddev", "stdvar", "sum", "topk")
WITH_NUMBER = ("bottomk", "topk", "quantile_over_time")
OF_LINES = ("absent_over_time", "bytes_over_time", "bytes_rate", "count_over_time", "rate")
OF_UNWRAPPED = ("rate", *(f"{one}_over_time" for one in ("avg", "first", "last", "max", "min", "quantile", "sum")))
PARSERS, GROUPING, MATCHING = ("json", "logfmt", "unpack"), ("by", "without"), ("on", "ignoring")
KEYWORDS = {*SETS, *PARSERS, *GROUPING, *MATCHING, "bool", "group_left", "line_format", "offset", "unwrap"}
TEMPLATE = re.compile(r"([^{]|\{(?!\{)|\{\{ *(\.\w+|__line__|__timestamp__) *\}\})*")
QUIET = re2.Options()
QUIET.log_errors = False  # it would write them to stderr


def check(query: str) -> None:
    """Raise ValueError, which says where, when the query does not parse."""
    parser = _Parser(query)
    if parser.next == "{":
        parser.lines()
    else:
        parser.values()
    parser.need("END")


class _Parser:
    """A recursive descent. Each method reads its part of the query; `next` is what stands there, of this `kind`."""

    def __init__(self, query: str) -> None:
        self.query, self.end = query, 0
        self.advance()

    def advance(self) -> None:
        found = TOKEN.match(self.query, self.end)
        assert found  # OTHER is whatever else stands there, and nobody wants it
        self.kind = str(found.lastgroup)
        self.start, self.end, self.next = found.start(self.kind), found.end(), found[self.kind]

    def must(self, holds: object, wanted: str) -> None:
        if not holds:
            raise ValueError(f"wanted {wanted}, at {self.start}: {self.query[self.start :][:20] or 'the end'}")

    def take(self, *wanted: str) -> str:
        """Read one of these, or of these kinds, if it stands next; else return nothing."""
        taken = self.next if self.next in wanted or self.kind in wanted else ""
        if taken:
            self.advance()
        return taken

    def need(self, *wanted: str) -> str:
        self.must(self.next in wanted or self.kind in wanted, " or ".join(wanted))
        return self.take(*wanted)

    def label(self) -> None:
        self.must(self.next not in KEYWORDS, "a label")
        self.need("WORD")

    def labels(self) -> None:
        self.need("(")
        if not self.take(")"):
            self.label()
            while self.need(",", ")") == ",":
                self.label()

    def string(self) -> str:
        text = self.need("TEXT")
        return text[1:-1] if text[0] == "`" else str(ast.literal_eval(text))

    def pattern(self, operator: str) -> Any:
        """Read what a label or a line is compared with by this operator."""
        text = self.string()
        try:
            return re2.compile(text if "~" in operator else re2.escape(text), QUIET)
        except re2.error as error:
            raise ValueError(f"wanted a regular expression before {self.start}: {error}") from error

    def match(self) -> bool:
        """Read a comparison of a label, and return whether it leaves out what lacks the label."""
        self.label()
        operator = self.need(*MATCHES)
        return bool(self.pattern(operator).fullmatch("")) == operator.startswith("!")

    def lines(self) -> bool:
        """Read lines of some streams, and return whether numbers are unwrapped from them."""
        self.need("{")
        chosen = self.match()
        while self.need(",", "}") == ",":
            chosen |= self.match()
        self.must(chosen, "before this a matcher that leaves out what lacks its label")
        unwrapped = False
        while operator := self.take("|") or ("" if unwrapped else self.take("|=", "|~", "!=", "!~")):
            if operator != "|":
                self.pattern(operator)
            elif not unwrapped and self.take("line_format"):
                self.must(TEMPLATE.fullmatch(self.string()), "before this a template of labels")
            elif not unwrapped and self.take("unwrap"):
                self.label()
                unwrapped = True
            elif unwrapped or not self.take(*PARSERS):
                self.match()
        return unwrapped

    def values(self, level: int = 0) -> None:
        """Read operands and the operators between them that bind at least so much."""
        if level == len(OPERATORS):
            self.operand()
            return
        self.values(level + 1)
        while operator := self.take(*OPERATORS[level]):
            if matching := self.take(*MATCHING):
                self.labels()
            if matching or operator in SETS or not self.take("NUMBER"):
                self.values(level + 1)

    def operand(self) -> None:
        if self.take("("):
            self.values()
            self.need(")")
            return
        name = self.need("vector", "label_replace", *AGGREGATIONS, *OF_LINES, *OF_UNWRAPPED)
        if name in AGGREGATIONS and self.take(*GROUPING):
            self.labels()
        self.need("(")
        self.arguments(name)
        self.need(")")

    def arguments(self, name: str) -> None:
        if name in WITH_NUMBER:
            self.need("NUMBER")
            self.need(",")
        if name == "vector":
            self.need("NUMBER")
        elif name == "label_replace" or name in AGGREGATIONS:
            self.values()
            for _ in range(4 if name == "label_replace" else 0):
                self.need(",")
                self.string()
        else:
            functions = OF_UNWRAPPED if self.lines() else OF_LINES
            self.must(name in functions, f"before this what {name} is of, lines or unwrapped numbers")
            for part in ("[", "DURATION", "]"):
                self.need(part)
            if self.take("offset"):
                self.need("DURATION")
