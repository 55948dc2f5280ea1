"""The command line; it requires the extra ``standard``."""

from servey.cli.main import cli, main, run

__all__ = ["cli", "main", "run"]
