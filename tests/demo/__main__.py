"""Tell the story once; then stay up until Ctrl-C, unless --once."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.demo.bitcoin import bitcoin
from tests.demo.stage import Narrator
from tests.lab import LabError


def main() -> int:
    """Exit code 0 when every page of the story arrived."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the story")
    once = parser.parse_args().once
    narrator = Narrator()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="chainwatch-demo-") as folder, bitcoin(Path(folder), narrator):
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
