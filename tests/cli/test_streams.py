"""The standard streams of commands: any locale, closed and full files, `--event` from elsewhere."""

import errno
import os
import subprocess
import sys

import pytest

from tests.cli.project import SECRET
from tests.serving import environment

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ACTIONS = """
from servey import *

@action
def say_hello(name: str) -> str:
    "Grüße ☃"
    return f"Hello {name} ☃"

@action
def refuse(name: str) -> str:
    raise Conflict(f"no {name} ☃")

@action
def fill() -> None:
    raise OSError(28, "the disk of the action is full")
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locales and /dev/full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("streams")
    (path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return path


def command(folder, *words, stdout=subprocess.PIPE, given=None, **env):
    """Run a command in a process of its own; returns the exit code, the output and the errors."""
    whole = environment(JWT_SECRET_KEY=SECRET, **env)
    # Output is buffered, as where no variable of Python's is set.
    del whole["PYTHONUNBUFFERED"]
    ended = subprocess.run(
        [sys.executable, "-m", "servey", *words],
        cwd=folder,
        env=whole,
        input=given,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    errors = ended.stderr.decode("utf-8")
    assert "Traceback" not in errors, errors
    assert "Exception ignored" not in errors, errors
    return ended.returncode, (ended.stdout or b"").decode("utf-8"), errors


def test_input_and_output_are_utf_8_in_every_locale(folder):
    event = '{"name": "Zoë"}'.encode()
    assert command(folder, "call", "say_hello", "--event", "-", given=event, **ASCII) == (0, '"Hello Zoë ☃"\n', "")
    assert command(folder, "call", "refuse", "name=ö", **ASCII) == (1, "", "error: no ö ☃ (conflict)\n")
    assert command(folder, "call", "say_hello", b"name=\xff", **ASCII) == (2, "", "error: an argument is not UTF-8\n")


def test_an_encoding_that_is_asked_for_loses_no_output(folder):
    code, output, _ = command(folder, "actions", PYTHONIOENCODING="ascii")
    assert (code, r"Gr\xfc\xdfe \u2603" in output) == (0, True)


FULL = f"error: the output cannot be written: {os.strerror(errno.ENOSPC)}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full")
@pytest.mark.parametrize("words", [["actions"], ["call", "say_hello", "name=x"]])
def test_a_full_disk_under_the_output_is_one_line(folder, words):
    with open("/dev/full", "wb") as full:
        assert command(folder, *words, stdout=full) == (1, "", FULL)


def test_an_error_of_an_action_is_none_of_the_output(command_line, folder):
    code, output, errors = command_line.run("call", "fill", cwd=folder)
    assert (code, output) == (1, "")
    assert errors == "error: OSError: [Errno 28] the disk of the action is full\n"


def test_a_place_that_cannot_be_written_is_one_line(command_line, folder):
    (folder / "file").touch()
    where = f"file{os.sep}below"
    reason = os.strerror(errno.ENOTDIR)
    assert command_line.run("new", where, cwd=folder) == (1, "", f"error: {where}: {reason}\n")
    code, _, errors = command_line.run("openapi", "-o", where, cwd=folder)
    assert (code, errors) == (1, f"error: {where} cannot be written: {reason}\n")


def test_params_from_a_file(command_line, folder):
    (folder / "params.json").write_text('{"name": "Zoë"}', encoding="utf-8")
    assert command_line.run("call", "say_hello", "--event", "@params.json", cwd=folder) == (0, '"Hello Zoë ☃"\n', "")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("@missing.json", f"--event @missing.json cannot be read: {os.strerror(errno.ENOENT)}"),
        ("@.", f"--event @. cannot be read: {os.strerror(errno.EISDIR)}"),
        ("@actions.py", "--event is not JSON: "),
        ("[" * 60_000, "--event is not JSON: "),
    ],
)
def test_params_that_cannot_be_read(command_line, folder, event, error):
    code, _, errors = command_line.run("call", "say_hello", "--event", event, cwd=folder)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"error: {error}")


def test_a_shell_completes_commands_and_actions(command_line, folder):
    asked = {"_SERVEY_COMPLETE": "complete_bash"}
    offered = command_line.run(cwd=folder, COMP_WORDS="servey graph", COMP_CWORD="1", **asked)
    assert offered[:2] == (0, "graphql-schema\n")
    offered = command_line.run(cwd=folder, COMP_WORDS="servey call s", COMP_CWORD="2", **asked)
    assert offered[:2] == (0, "say_hello\n")
    (folder / "broken.py").write_text("1 / 0", encoding="utf-8")
    offered = command_line.run(
        cwd=folder, COMP_WORDS="servey call s", COMP_CWORD="2", SERVEY_ACTION_PATH="broken", **asked
    )
    assert (offered[0], offered[1].strip(), offered[2]) == (0, "", "")
