"""`python -m tests.lab` installs the programs that the lab starts; with `loki` after it, Loki."""

import sys

from tests.lab import lokitools, peers

STEPS = {(): peers.main, ("loki",): lokitools.main}

if step := STEPS.get(tuple(sys.argv[1:])):
    sys.exit(step())
sys.exit(f"{' '.join(sys.argv[1:])!r} is not a step. There are: python -m tests.lab, python -m tests.lab loki")
