"""Variables from a file: .env in development, or the file that SERVEY_ENV_FILE names."""

import json
import urllib.request
from pathlib import Path

import pytest

from tests.serving import free_port, run, started

APP = """
import os
from servey import WEB_GET, action, create_app

@action(triggers=WEB_GET)
def variables() -> list[str | None]:
    return [os.environ.get(name) for name in ("COLOR", "SIZE", "SERVEY_API_TITLE")]

servey_app = create_app(actions=[variables])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


def called(folder: Path, **env: str) -> tuple[int, str]:
    done = run("-m", "servey", "call", "variables", cwd=folder, **env)
    return done.returncode, done.stdout or done.stderr


def test_a_command_reads_the_named_file(folder: Path) -> None:
    (folder / "prod.env").write_text(
        '# colors\nexport COLOR="dark blue"\nSIZE=${COLOR}!\nSERVEY_API_TITLE=File\n', encoding="utf-8"
    )
    code, out = called(folder, SERVEY_ENV_FILE="prod.env", SERVEY_API_TITLE="Environment")
    assert (code, json.loads(out)) == (0, ["dark blue", "dark blue!", "Environment"])


def test_without_a_name_a_command_reads_none(folder: Path) -> None:
    (folder / ".env").write_text("COLOR=blue\n", encoding="utf-8")
    code, out = called(folder)
    assert (code, json.loads(out)) == (0, [None, None, None])


def test_the_environment_wins_under_any_name_of_a_setting(folder: Path) -> None:
    (folder / "a.env").write_text("SERVEY_PORT=no\nCOLOR=blue\n", encoding="utf-8")
    code, out = called(folder, SERVEY_ENV_FILE="a.env", PORT="8123")
    assert (code, json.loads(out)[0]) == (0, "blue")


def test_a_named_file_that_is_missing_is_an_error(folder: Path) -> None:
    code, out = called(folder, SERVEY_ENV_FILE="no.env")
    assert (code, out.strip()) == (1, "error: SERVEY_ENV_FILE: no.env cannot be read: No such file or directory")


def test_a_line_that_cannot_be_parsed_is_an_error_without_its_text(folder: Path) -> None:
    (folder / "bad.env").write_text("COLOR=blue\nPASS WORD=s3cret\nSIZE\n", encoding="utf-8")
    code, out = called(folder, SERVEY_ENV_FILE="bad.env")
    assert code == 1 and "s3cret" not in out
    assert out.splitlines() == ["error: bad.env, line 2: write NAME=value", "error: bad.env, line 3: write NAME=value"]


def test_development_reads_dot_env(folder: Path) -> None:
    (folder / ".env").write_text("COLOR=blue\nSERVEY_ENV=prod\n", encoding="utf-8")
    port = free_port()
    with started(["-m", "servey", "dev", "--port", str(port)], port, cwd=folder) as server:
        with urllib.request.urlopen(f"{server.url}/actions/variables") as answer:
            assert json.load(answer)[0] == "blue"
        with urllib.request.urlopen(f"{server.url}/docs") as answer:
            assert answer.status == 200
