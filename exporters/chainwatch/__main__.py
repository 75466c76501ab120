"""The command `chainwatch`."""

import os
import sys

from chainwatch.cli import run
from chainwatch.errors import ChainwatchError
from chainwatch.logs import one_line


def main() -> None:
    """Run the command; an error of the user's or the machine's is one line and exit code 1."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except ChainwatchError as error:
        print(f"chainwatch: {one_line(str(error))}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        code = 1
    except BrokenPipeError:
        # Whoever reads has enough (`| head`); at exit Python would flush again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
