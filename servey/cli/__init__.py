"""The command line; it needs Servey's extra ``standard``."""

from servey.cli.main import cli, main, run

__all__ = ["cli", "main", "run"]
