"""Run every measurement, or one chain's, and print the figures."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.cometbft_latency import cometbft_latency
from tests.bench.consensus import votes
from tests.bench.latency import latency
from tests.bench.logs import log_following
from tests.bench.pages import rendering
from tests.bench.peers import many_peers
from tests.bench.scrapes import scrapes
from tests.lab import BitcoinSV, LabError, Litecoind, same_tip


def main() -> int:
    """Exit code 0 when everything could be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, help="whose measurements (default: all)")
    only = parser.parse_args().only
    try:
        with tempfile.TemporaryDirectory(prefix="chainwatch-bench-") as folder:
            for name, section in SECTIONS.items():
                if only in (None, name):
                    section(Path(folder))
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _bitcoin(folder: Path) -> None:
    for kind, leak in ((Litecoind, True), (BitcoinSV, False)):
        with kind(folder / f"{kind.kind}-a", "a") as a, kind(folder / f"{kind.kind}-b", "b") as b:
            _head(f"A scrape of {kind.kind}, beside the bare batch of the same calls, in turns")
            a.connect(b)
            a.fund()
            same_tip(a, b)
            scrapes(folder / f"{kind.kind}-watch", a, leak=leak)
    _head("Within the process")
    many_peers()
    rendering()
    log_following(folder)
    _head("Bitcoin: from trouble to the webhook, scraping every 5 s, rules and routes as shipped")
    latency(folder / "latency")


def _cometbft(folder: Path) -> None:
    _head("CometBFT: votes of 180 validators")
    votes(folder / "votes")
    _head("CometBFT: from trouble to the webhook, scraping every 5 s, rules and routes as shipped")
    cometbft_latency(folder / "cometbft-latency")


def _head(text: str) -> None:
    print(text, flush=True)


SECTIONS = {"bitcoin": _bitcoin, "cometbft": _cometbft}

if __name__ == "__main__":
    sys.exit(main())
