"""The guide says what the code does: its whitelist, its table of collectors, its examples."""

from __future__ import annotations

import hmac
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from chainwatch.config import load
from chainwatch.families.bitcoin import methods
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.settings import BitcoinSettings, check

BITCOIN.load()
ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "bitcoin.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_whitelist_in_the_guide_is_what_the_collectors_ask() -> None:
    line = methods.whitelist("chainwatch", [entry for entry in BITCOIN if entry.default])
    assert line in GUIDE.splitlines(), f"docs/bitcoin.md should say:\n{line}"


def test_every_collector_is_in_the_guide_with_its_default_and_its_calls() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| [^|]+ \|$", GUIDE, re.MULTILINE))
    told = {
        entry.name: f"{'on' if entry.default else 'off'} | "
        + ", ".join(sorted(methods.asked_by(import_module(entry.build.__module__))))
        for entry in BITCOIN
    }
    missing = [f"| `{name}` | {row} | what it costs the node |" for name, row in told.items() if rows.get(name) != row]
    assert not missing, "the table in docs/bitcoin.md should say:\n" + "\n".join(missing)
    assert not rows.keys() - told.keys(), "the table in docs/bitcoin.md has collectors that do not exist"


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_are_right_as_they_stand(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bitcoin.yml"
    file.write_text(text)
    settings = load(BitcoinSettings, file=file, environ={}, flags={}, switches=[entry.name for entry in BITCOIN])
    check(settings)
    assert settings != BitcoinSettings()


def test_the_line_that_makes_a_login_makes_one_that_the_node_accepts(tmp_path: Path) -> None:
    (script,) = re.findall(r"^    python3 -c '(.*)'$", GUIDE, re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    user, salt, digest = re.fullmatch(r"rpcauth=(\w+):(\w+)\$(\w+)\n", done.stdout).groups()  # type: ignore[union-attr]
    password = (tmp_path / "rpc-password").read_text().rstrip("\n")
    assert user == "chainwatch"
    assert hmac.new(salt.encode(), password.encode(), "sha256").hexdigest() == digest
