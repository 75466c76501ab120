"""The exporter's own log: one event, one line, whatever stands in it."""

import json
import logging

import pytest

from chainwatch import logs

HOSTILE = 'sub"ver\\sion\r\nts=2026-01-01T00:00:00Z level=error msg="forged"\x1b[31m\x00\x85\u2028\u202e\ud800'


def event(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("chainwatch.x", logging.WARNING, "f.py", 1, message, arguments, exc_info)
    record.created = 1760000000.5
    return record


def test_an_event_is_key_value_pairs() -> None:
    line = logs.LogfmtFormatter().format(event("peer %s left", 3))
    assert line == 'ts=2025-10-09T08:53:20.500Z level=warning logger=chainwatch.x msg="peer 3 left"'


def test_a_plain_word_needs_no_quotes_and_an_empty_one_does() -> None:
    assert logs.LogfmtFormatter().format(event("up")).endswith(" msg=up")
    assert logs.LogfmtFormatter().format(event("")).endswith(' msg=""')


@pytest.mark.parametrize("formatter", [logs.LogfmtFormatter(), logs.JsonFormatter()])
def test_what_a_node_sent_cannot_forge_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(event("node says %s", HOSTILE))
    assert line.splitlines() == [line]
    assert line.isprintable()
    line.encode()


def test_quotes_and_backslashes_come_back() -> None:
    line = logs.LogfmtFormatter().format(event('a "b" \\n c'))
    assert line.endswith(r' msg="a \"b\" \\n c"')
    assert json.loads(line.partition(" msg=")[2]) == 'a "b" \\n c'


def test_json_is_one_object_with_the_message_as_it_was() -> None:
    fields = json.loads(logs.JsonFormatter().format(event("node says %s", HOSTILE)))
    assert fields["msg"] == f"node says {HOSTILE}"
    assert (fields["level"], fields["logger"], fields["ts"]) == ("warning", "chainwatch.x", "2025-10-09T08:53:20.500Z")


@pytest.mark.parametrize("formatter", [logs.LogfmtFormatter(), logs.JsonFormatter()])
def test_a_traceback_stays_in_its_line(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("bad\nworse")
    except ValueError as error:
        line = formatter.format(event("failed", error=error))
    assert "ValueError" in line
    assert line.splitlines() == [line]


def test_only_what_is_important_enough_reaches_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.level, logging.root.handlers[:]
    try:
        logs.configure("warning", "json")
        logging.getLogger("chainwatch.y").info("quiet")
        logging.getLogger("chainwatch.y").warning("loud")
        logs.configure("debug", "logfmt")
        logging.getLogger("chainwatch.y").debug("now too")
    finally:
        logging.root.setLevel(before[0])
        logging.root.handlers[:] = before[1]
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert json.loads(first)["msg"] == "loud"
    assert second.endswith('msg="now too"')


def test_one_line_leaves_ordinary_text_alone() -> None:
    assert logs.one_line("Ünïcode, 'quotes' and \\ stay") == "Ünïcode, 'quotes' and \\ stay"
    assert logs.one_line("a\nb") == r"a\nb"
