"""Logs of CometBFT 0.34 to 1.0, plain and JSON alike, by the constants of its log patterns.

JSON is that of CometBFT's logger or of the Cosmos SDK's. The SDK's console format has no date, and is not read.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainwatch.families.cometbft.log_patterns import (
    CONFLICTING_VOTES,
    JSON_LEVEL,
    JSON_LEVELS,
    JSON_MESSAGE,
    JSON_MODULE,
    JSON_TIME,
    MESSAGES,
    NEXT_HEIGHT,
    PLAIN,
    PLAIN_LEVELS,
    SDK_MESSAGE,
    SDK_TIME,
    Category,
    Message,
)
from loki.stages import (
    Job,
    Pipeline,
    Stage,
    drop,
    first_of,
    json,
    label_drop,
    labels,
    logfmt,
    marked,
    regex,
    structured_metadata,
    template,
    timestamp,
    without_empty,
)

# Fields of a line that are stored beside it.
FIELDS = ("height", "round", "step", "hash", "peer", "proposer")
METADATA = ("module", *FIELDS, "validator")
# What the level is called in Loki, by letter and by word; a logger without level says `none`.
LEVELS = {word: name if name != "none" else "unknown" for word, name in sorted({**PLAIN_LEVELS, **JSON_LEVELS}.items())}

_VALIDATOR = CONFLICTING_VOTES.where["err"].replace("[0-9A-F]{40}", "(?P<validator>[0-9A-F]{40})")


def _read() -> list[Stage]:
    wheres = {name for message in MESSAGES for name in message.where}
    fields = dict.fromkeys([*FIELDS, *sorted(wheres - set(FIELDS))], "")
    names: Mapping[str, str] = {
        "message": JSON_MESSAGE,
        "level": JSON_LEVEL,
        "time": JSON_TIME,
        "module": JSON_MODULE,
        "sdk_message": SDK_MESSAGE,
        "sdk_time": SDK_TIME,
    }
    return [
        drop("blank", r"^\s*$", why="Says nothing."),
        regex(PLAIN.regex, why='log_format = "plain".'),
        logfmt("fields", fields),
        json({name: "" if name == key else key for name, key in names.items()} | fields, 'log_format = "json".'),
        *(
            template(
                name,
                f"{{{{ if .module }}}}{first_of([(f'.{one}', f'{{{{ .{one} }}}}') for one in (name, f'sdk_{name}')])}"
                "{{ end }}",
                "CometBFT's own, else the Cosmos SDK's. Whatever else is a JSON object is no line of this format."
                if name == "message"
                else "",
            )
            for name in ("message", "time")
        ),
        timestamp(
            "time",
            "2006-01-02|15:04:05.000",
            ["RFC3339Nano"],
            location="Local",
            why="The plain format has the node's local time without offset. `Local` is the zone of this program, which"
            " runs on the node's machine; elsewhere name the node's (Europe/Paris). JSON has an offset. A line"
            " without time, as of a panic, is stored right after the one before it, with level=unknown.",
        ),
    ]


def _condition(message: Message) -> str:
    marks = [f".is_{message.name}", *(f".has_{message.name}_{name}" for name in message.where)]
    return marks[0] if len(marks) == 1 else f"and {' '.join(marks)}"


def _events() -> list[Stage]:
    found = []
    for message in MESSAGES:
        found.append(marked(f"is_{message.name}", message.regex, "message"))
        found += [marked(f"has_{message.name}_{name}", value, name) for name, value in message.where.items()]
    cases = [(_condition(message), message.name) for message in MESSAGES]
    return [*found, template("event", first_of(cases), "The first that matches says what the line is about.")]


def _category(category: Category) -> tuple[str, str]:
    events = " ".join(f'"{message.name}"' for message in MESSAGES if message.category is category)
    return f"eq .event {events}", category.value


def _levels() -> str:
    cases = [(f'eq .level "{word}"', level) for word, level in LEVELS.items()]
    return f"{{{{ if and .module .level }}}}{first_of([*cases, ('true', 'unknown')])}{{{{ else }}}}unknown{{{{ end }}}}"


def pipeline() -> Pipeline:
    """Return the stages for one line."""
    categories = first_of([_category(category) for category in Category])
    return [
        *_read(),
        *_events(),
        drop(
            NEXT_HEIGHT.name,
            f"^{NEXT_HEIGHT.name}$",
            "event",
            "At every height the end of timeout_commit is logged as a timeout, and hides those that mean trouble.",
        ),
        template("category", f"{{{{ if .event }}}}{categories}{{{{ end }}}}"),
        template("level", _levels(), "Only a line with a module has this format."),
        regex(_VALIDATOR, "err"),
        *without_empty(*FIELDS, why="A field may be there and empty."),
        labels(("level", "category", "event"), "Closed sets only: nothing that a peer chooses."),
        structured_metadata(METADATA, "Beside the line, not in the index."),
        label_drop(["filename"], "One node has one log; the path would only make more streams."),
    ]


JOB = Job(
    name="cometbft",
    title="CometBFT and Tendermint",
    pipeline=pipeline(),
    unit="cometbft.service",
    instance="127.0.0.1:11333",
    chain="cosmoshub-4",
)
