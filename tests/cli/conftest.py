"""A project, and the command line in it."""

import pytest

from tests.cli.project import ACTIONS, SECRET


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return folder


@pytest.fixture
def servey(command_line):
    """Run `servey WORDS` in a project; returns the exit code, the output and the errors."""

    def command(project, *words, **env):
        code, output, errors = command_line.run(*words, cwd=project, **{"JWT_SECRET_KEY": SECRET, **env})
        assert "Traceback" not in errors, errors
        return code, output, errors

    return command
