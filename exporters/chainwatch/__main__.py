"""The command `chainwatch`."""

import sys

from chainwatch.cli import run
from chainwatch.errors import ChainwatchError


def main() -> None:
    """Run the command; an error of the user's or the machine's is one line and exit code 1."""
    try:
        sys.exit(run(sys.argv[1:]))
    except ChainwatchError as error:
        print(f"chainwatch: {error}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
