"""Run every measurement and print the figures."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.latency import latency
from tests.bench.logs import log_following
from tests.bench.pages import rendering
from tests.bench.peers import many_peers
from tests.bench.scrapes import scrapes
from tests.lab import BitcoinSV, LabError, Litecoind, same_tip


def main() -> int:
    """Exit code 0 when everything could be measured."""
    try:
        with tempfile.TemporaryDirectory(prefix="chainwatch-bench-") as name:
            folder = Path(name)
            for kind, leak in ((Litecoind, True), (BitcoinSV, False)):
                with kind(folder / f"{kind.kind}-a", "a") as a, kind(folder / f"{kind.kind}-b", "b") as b:
                    print(f"A scrape of {kind.kind}, beside the bare batch of the same calls, in turns", flush=True)
                    a.connect(b)
                    a.fund()
                    same_tip(a, b)
                    scrapes(folder / f"{kind.kind}-watch", a, leak=leak)
            print("Within the process", flush=True)
            many_peers()
            rendering()
            log_following(folder)
            print("From trouble to the webhook, scraping every 5 s, rules and routes as shipped", flush=True)
            latency(folder / "latency")
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
