"""Tools that tests of AWS need and no one else: each in a folder of its own below `.venv`, made once.

The Serverless Framework's open successor comes by npm, and so needs Node; without it those tests are skipped.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.serving import ROOT

FOLDER = ROOT / ".venv" / "tools"
OSLS = "osls@4.3.1"
HERE = Path(__file__).parent


def python_of(name: str) -> Path:
    """The Python of a virtual environment with what `NAME.txt` pins."""
    wanted = HERE / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    target = FOLDER / f"{name}-{digest}"
    if not target.exists():
        with _scratch() as scratch:
            subprocess.run([sys.executable, "-m", "venv", "--copies", scratch], check=True, capture_output=True)
            pip = [str(Path(scratch, "bin", "python")), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)]
            subprocess.run(pip, check=True, capture_output=True)
            shutil.move(scratch, target)
    return target / "bin" / "python"


def osls() -> Path:
    """The command line of osls; without Node the test is skipped."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node")
    target = FOLDER / OSLS
    if not target.exists():
        with _scratch() as scratch:
            command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-timeout=30000", OSLS]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True)
            shutil.move(scratch, target)
    return target / "node_modules" / ".bin" / "osls"


def run_osls(words: list[str], folder: Path, **env: str) -> str:
    """What `osls WORDS` says; fails the test where it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SERVEY_"))}
    done = subprocess.run(
        [str(osls()), *words],
        cwd=folder,
        env={**kept, "AWS_REGION": "us-east-1", "SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _scratch() -> "tempfile.TemporaryDirectory[str]":
    FOLDER.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True)
