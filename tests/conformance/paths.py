"""Where the full recordings lie: too large for the repository, so tests that need them are skipped without them."""

import os
from pathlib import Path

import pytest

FIXTURES = Path(os.environ.get("CHAINWATCH_FIXTURES") or Path(__file__).resolve().parents[3] / "shared" / "fixtures")


def recording(name: str) -> Path:
    """Return the path of a recording, or skip the test that asks for it."""
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"no recording {path}; set CHAINWATCH_FIXTURES to the folder that holds {name}")
    return path
