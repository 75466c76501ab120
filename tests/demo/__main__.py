"""Tell a chain's story once; then stay up until Ctrl-C, unless --once."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.demo.bitcoin import bitcoin
from tests.demo.cometbft import cometbft
from tests.demo.stage import Narrator
from tests.lab import LabError

STORIES = {"bitcoin": bitcoin, "cometbft": cometbft}


def main() -> int:
    """Exit code 0 when every page of the story arrived."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--chain", choices=STORIES, default="bitcoin", help="whose story (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="end after the story")
    arguments = parser.parse_args()
    once, story = arguments.once, STORIES[arguments.chain]
    narrator = Narrator()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="chainwatch-demo-") as folder, story(Path(folder), narrator):
            if not once:
                narrator.say("everything stays up for you to look at; Ctrl-C ends it")
                signal.pause()
    except KeyboardInterrupt:
        narrator.say("ended")
        return 130 if once else 0
    except LabError as error:
        narrator.say(f"the story broke off: {error}")
        return 1
    narrator.say("the story is told; everything is stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
