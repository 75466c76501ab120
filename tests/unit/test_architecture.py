"""The arrows of the design are a check, and the check can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "exporters" / "chainwatch"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with our contracts over the package below `root`."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", root / "pyproject.toml"],
        cwd=root / "exporters", env={**os.environ, "PYTHONPATH": str(root / "exporters")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "exporters" / "chainwatch", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_no_import_goes_against_the_arrows() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("exposition/runner.py", "from chainwatch.families.bitcoin import client", "Arrows run one way"),
        ("streams/health.py", "import chainwatch.families", "Arrows run one way"),
        ("streams/health.py", "from chainwatch.exposition import runner", "Arrows run one way"),
        ("families/bitcoin/node.py", "from chainwatch import cli", "Arrows run one way"),
        ("exposition/http.py", "from chainwatch import cli", "Arrows run one way"),
        ("config.py", "from chainwatch.exposition import fleet", "Arrows run one way"),
        ("errors.py", "from chainwatch import config", "Arrows run one way"),
        ("families/other/__init__.py", "from chainwatch.families.bitcoin import client", "A family never imports"),
        ("families/bitcoin/node.py", "from chainwatch.families import other", "A family never imports"),
        ("helpers.py", "", "Arrows run one way"),  # a new room nobody has given a place
    ],
)
def test_an_import_against_the_arrows_is_found(copy: Path, module: str, line: str, broken: str) -> None:
    other = copy / "exporters" / "chainwatch" / "families" / "other" / "__init__.py"
    other.parent.mkdir()
    other.write_text('"""Another family."""\n')
    file = copy / "exporters" / "chainwatch" / module
    with file.open("a") as source:
        source.write(f"\n{line}\n")
    done = lint(copy)
    assert done.returncode != 0
    assert f"{broken}" in done.stdout
    assert "BROKEN" in done.stdout


def test_every_folder_is_a_package_that_the_check_sees() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
