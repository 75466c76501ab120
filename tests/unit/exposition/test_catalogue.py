"""The document of all metrics."""

from pathlib import Path

import pytest

from chainwatch import cli
from chainwatch.exposition import metrics
from chainwatch.exposition.catalogue import as_markdown
from chainwatch.exposition.metrics import counter, gauge

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_committed_document_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["metrics"])
    assert DOCUMENT.read_text() == capsys.readouterr().out, "run `chainwatch metrics > docs/metrics.md`"


def test_every_prefix_has_a_table_and_what_all_families_share_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_catalogue", {})
    counter("btcd_things_total", "Things.", labels=("origin", "kind"))
    gauge("chainwatch_size_bytes", "One|two.")
    gauge("abc_x", "X.")
    lines = [line for line in as_markdown().splitlines() if line.startswith(("## ", "| `"))]
    assert lines == [
        "## Every family",
        "| `chainwatch_size_bytes` | gauge |  | One\\|two. |",
        "## Abc",
        "| `abc_x` | gauge |  | X. |",
        "## Btcd",
        "| `btcd_things_total` | counter | `origin`, `kind` | Things. |",
        "## The process",
    ]
