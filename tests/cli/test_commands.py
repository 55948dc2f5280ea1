"""The other commands: documents, help, new projects, and problems of a project."""

import json
import platform

import pytest

from servey.core.version import __version__
from tests.serving import run


def test_openapi_goes_where_it_is_told(servey, project, tmp_path):
    code, output, _ = servey(project, "openapi", "-o", "-")
    document = json.loads(output)
    assert (code, "/actions/say-hello" in document["paths"]) == (0, True)
    target = tmp_path / "api.json"
    assert servey(project, "openapi", "--output", str(target)) == (0, "", f"wrote {target}\n")
    assert target.read_text(encoding="utf-8") == output  # the same every time
    code, _, errors = servey(project, "openapi", "-o", str(tmp_path / "no" / "folder.json"))
    assert (code, "cannot be written" in errors) == (1, True)


def test_asyncapi_goes_where_it_is_told(servey, project, tmp_path):
    (project / "event_channels.py").write_text(
        'from servey import websocket_event_channel\n\nmessenger = websocket_event_channel("messenger", str)\n',
        encoding="utf-8",
    )
    code, output, _ = servey(project, "asyncapi", "-o", "-")
    assert (code, "messenger" in json.loads(output)["channels"]) == (0, True)
    target = tmp_path / "events.json"
    assert servey(project, "asyncapi", "-o", str(target)) == (0, "", f"wrote {target}\n")
    assert target.read_text(encoding="utf-8") == output


@pytest.mark.parametrize("command", ["dev", "run"])
@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_does_not_exist(servey, project, command, port):
    code, _, errors = servey(project, command, "--port", port)
    assert (code, "Invalid value for '--port'" in errors, "Traceback" in errors) == (2, True, False)


@pytest.mark.parametrize(
    "words", [["--help"], ["call", "--help"], ["dev", "--help"], ["run", "--help"], ["new", "--help"]]
)
def test_help(servey, project, words):
    code, output, _ = servey(project, *words)
    assert (code, "Usage: servey" in output) == (0, True)


def test_version(servey, project):
    lines = servey(project, "--version")[1].splitlines()
    assert lines[:2] == [f"servey {__version__}", f"python {platform.python_version()}"]
    assert {"fastapi", "pydantic", "uvicorn", "strawberry-graphql", "arq"} <= {line.split()[0] for line in lines}


def test_problems_of_the_project_come_without_a_traceback(servey, tmp_path):
    (tmp_path / "actions.py").write_text("import nowhere_at_all\n", encoding="utf-8")
    for words in (["actions"], ["call", "x"], ["openapi", "-o", "-"], ["run"]):
        code, output, errors = servey(tmp_path, *words)
        assert (code, output) == (1, "")
        assert "error: module 'actions' cannot be imported (actions.py:1): ModuleNotFoundError" in errors


def test_help_and_calls_leave_the_server_alone(project):
    program = (
        "import sys\n"
        "from servey import cli\n"
        "try:\n    cli.run(sys.argv[1:])\n"
        "except SystemExit:\n    print([name for name in ('uvicorn', 'strawberry', 'arq', 'boto3') if name in sys.modules])\n"
    )
    for words in (["--help"], ["call", "say_hello", "name=x"]):
        done = run("-c", program, *words, cwd=project)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_new_makes_a_project_that_runs_and_whose_tests_pass(servey, tmp_path):
    code, output, _ = servey(tmp_path, "new", "shop")
    assert (code, "servey dev" in output, "python -m unittest discover -s tests" in output) == (0, True, True)
    folder = tmp_path / "shop"
    assert (folder / "AGENTS.md").read_text(encoding="utf-8") == servey(folder, "guide", "--agents")[1]
    assert servey(folder, "call", "say_hello", "name=You")[1] == '"Hello You!"\n'
    done = run("-m", "unittest", "discover", "-s", "tests", cwd=folder)
    assert (done.returncode, "Ran 5 tests" in done.stderr) == (0, True), done.stderr
    code, _, errors = servey(tmp_path, "new", "shop")
    assert (code, errors) == (1, "error: shop exists and is not an empty folder\n")


def test_new_in_this_folder_beside_a_virtual_environment(servey, tmp_path):
    (tmp_path / ".venv").mkdir()
    code, output, _ = servey(tmp_path, "new", ".")
    assert (code, "cd " in output, (tmp_path / "actions.py").exists()) == (0, False, True)


def test_actions_of_an_empty_folder_says_where_they_are_looked_for(servey, tmp_path):
    code, _, errors = servey(tmp_path, "actions")
    assert (code, errors.startswith("warning: the app has no actions; name their modules")) == (0, True)


@pytest.mark.parametrize("group", [(), ("jobs",), ("dashboard",)])
def test_the_list_of_commands_cuts_no_sentence(servey, tmp_path, group):
    assert "..." not in servey(tmp_path, *group, "--help")[1].partition("Commands:")[2]


@pytest.mark.slow  # its own pytest, and argon2
def test_new_makes_a_project_with_a_database(servey, tmp_path):
    code, output, _ = servey(tmp_path, "new", "--template", "database", "notes")
    assert (code, "python -m pytest" in output) == (0, True)
    folder = tmp_path / "notes"
    done = run("-m", "pytest", "-q", cwd=folder)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "count_words" in servey(folder, "actions")[1]
