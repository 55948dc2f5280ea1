"""A project of files, and commands in it."""

from typing import Any

import pytest


@pytest.fixture
def project(tmp_path, command_line):
    """Make a project of files; returns a function that runs a command in it."""
    folder = tmp_path / "my shop"

    def make(files: dict[str, str]) -> Any:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return lambda *words, **env: command_line.run(*words, cwd=folder, PYTHONDONTWRITEBYTECODE="1", **env)

    make.folder = folder
    return make
