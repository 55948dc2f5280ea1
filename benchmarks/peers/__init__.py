"""The peers: each module ``NAME_app`` has an ``app``. Some have a virtual environment of their own, beside ``.venv``."""

import sys
from pathlib import Path

APART = ("litestar", "blacksheep", "fastmcp")
APART_PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"


def python_of(name: str) -> str:
    """Return the interpreter of a peer."""
    return str(APART_PYTHON) if name in APART else sys.executable


def is_installed(name: str) -> bool:
    """Whether a peer can run here."""
    return name not in APART or APART_PYTHON.exists()
