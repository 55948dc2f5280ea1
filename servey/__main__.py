"""``python -m servey`` serves for development; with words it is the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; without words, the development server."""
    from servey.cli import run

    run(sys.argv[1:] or ["dev"])


if __name__ == "__main__":
    main()
