"""`python -m loki` writes the configurations of promtail and of Alloy."""

from __future__ import annotations

from loki.files import texts


def main() -> None:
    """Write them."""
    for path, text in texts().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
