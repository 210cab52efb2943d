"""Start of the `tensorq` command: Ctrl-C while Python still loads its modules leaves no traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from tensorq import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
