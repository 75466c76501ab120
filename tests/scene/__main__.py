"""Run the scene and repeat its faults now and then, until its time is over, Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.scene.stage import Scene


def main() -> int:
    """Exit code 0 at the end of its time."""
    parser = argparse.ArgumentParser(prog="python -m tests.scene", description=__doc__)
    parser.add_argument("--for", dest="seconds", type=float, default=600, help="seconds to run (default: %(default)g)")
    parser.add_argument("--addresses", type=Path, help="JSON file to write: where the servers are")
    parser.add_argument("--beats", type=int, default=10, help="beats between two faults (default: %(default)d)")
    parser.add_argument("--stand-ins", action="store_true", help="add a Core 31 and an SDK application that are played")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="chainwatch-scene-") as folder,
        Scene(Path(folder), stand_ins=arguments.stand_ins) as scene,
    ):
        addresses = json.dumps(scene.addresses(), indent=1)
        if arguments.addresses:
            arguments.addresses.write_text(addresses + "\n")
        print(addresses, scene.without_loki, flush=True)
        with scene.playing(arguments.beats, again=True) as players:
            ends, shown = time.monotonic() + arguments.seconds, 0
            while time.monotonic() < ends:
                time.sleep(1)
                failures = [failure for player in players for failure in player.failed]
                for failure in failures[shown:]:
                    print(failure, file=sys.stderr, flush=True)
                shown = len(failures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
