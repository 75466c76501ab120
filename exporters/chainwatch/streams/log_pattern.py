"""What every family's log patterns are: a named, explained, quoted expression each, shared with Loki's pipelines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of line: its expression, the versions that write it, and one such message, copied from a log.

    The expression is also valid RE2, the syntax of Loki's pipelines, and means the same there: no look-around, no
    back-references, ASCII digits. It is anchored at the start, so that text of a peer, which stands further right,
    never matches.
    """

    name: str
    regex: str
    versions: str
    quote: str
    compiled: re.Pattern[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Bytes, because a log may hold any bytes, and because \d then means 0 to 9 as it does in RE2.
        object.__setattr__(self, "compiled", re.compile(self.regex.encode()))
