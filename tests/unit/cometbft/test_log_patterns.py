"""Each pattern matches what it quotes, in Python and in RE2 alike, and no peer's text."""

import re

import pytest
import re2

from chainwatch.families.cometbft import log_patterns
from chainwatch.families.cometbft.log_patterns import MESSAGES, PLAIN, Category, Message

EVERY = [PLAIN, *MESSAGES]


@pytest.mark.parametrize("pattern", EVERY, ids=[pattern.name for pattern in EVERY])
def test_pattern_is_anchored_and_finds_the_same_in_re2_as_in_python(pattern: Message) -> None:
    assert pattern.regex.removeprefix("(?i)").startswith("^")
    for other in EVERY:
        ours = re.search(pattern.regex, other.quote)
        theirs = re2.search(pattern.regex, other.quote)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.groupdict() == theirs.groupdict()


@pytest.mark.parametrize("message", MESSAGES, ids=[message.name for message in MESSAGES])
def test_message_matches_its_quote_and_its_capitalised_form(message: Message) -> None:
    assert re.search(message.regex, message.quote)
    assert re.search(message.regex, message.quote[0].upper() + message.quote[1:])
    assert {other.name for other in MESSAGES if re.search(other.regex, message.quote) and not other.where} <= {
        message.name
    }


def test_names_are_unique_and_every_category_is_used() -> None:
    assert len({message.name for message in MESSAGES}) == len(MESSAGES)
    assert {message.category for message in MESSAGES} == set(Category)
    assert {value for value in vars(log_patterns).values() if isinstance(value, Message)} == set(MESSAGES)


def test_text_of_a_peer_in_a_field_makes_no_message() -> None:
    line = (
        'I[2026-11-22|11:36:53.673] Ignoring inbound connection                  module=p2p err="CONSENSUS FAILURE!!!"'
    )
    found = re2.search(PLAIN.regex, line)
    assert found["message"] == "Ignoring inbound connection"
    assert not any(re2.search(message.regex, found["message"]) for message in MESSAGES)


def test_plain_line_is_taken_apart() -> None:
    found = re2.search(PLAIN.regex, PLAIN.quote)
    assert found.groupdict() == {
        "level": "I",
        "time": "2026-11-22|11:36:53.673",
        "message": "committed state",
        "module": "state",
        "fields": " height=1 block_app_hash=0000000000000000",
    }
