"""`segkit` and `python -m segkit`."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from segkit.cli.app import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while still importing
        sys.exit(130)


if __name__ == "__main__":
    main()
