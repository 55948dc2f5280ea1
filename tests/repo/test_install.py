"""The distributions, built as for a release, and each extra installed from the wheel into an environment of its own.

Uses uv if it is on PATH, which takes a minute; with pip it takes ten.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from servey.core.version import __version__
from tests.repo.snippets import blocks_of
from tests.serving import ROOT, free_port, wait_for_port

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "install.md"
EXTRAS = ["", "standard", "graphql", "jobs", "aws", "granian", "mcp", "all"]
ALIASES = {"server": "standard,graphql", "scheduler": "jobs", "serverless": "standard,aws", "web-page": "standard"}
ACTIONS = next(block for block in blocks_of(ROOT / "README.md") if block.file_name == "actions.py").text
USES = {
    "": "from actions import say_hello; from servey import create_app; create_app(actions=[say_hello])",
    "standard": "import typer, uvicorn, servey.testing, servey.cli",
    "graphql": "from actions import say_hello; from servey import create_app\n"
    "assert any(route.path == '/graphql' for route in create_app(actions=[say_hello]).routes)",
    "jobs": "import arq, servey.jobs.redis.worker, servey.ws.redis_bus, servey.caching.redis_backend",
    "aws": "from servey import create_app; from servey.aws import build_handler; build_handler(create_app(actions=[]))",
    "granian": "import granian, servey.granian_server",
    "mcp": "import mcp, servey.mcp.mount",
    "all": "import typer, strawberry, arq, boto3, granian, mcp",
}


def bare_environment() -> dict[str, str]:
    """The environment without what belongs to this project."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SERVE", "VIRTUAL_"))}


def call(*words: object, cwd: Path | None = None) -> str:
    """Run a program without this project's environment and return its output."""
    env = bare_environment()
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment_with(folder: Path, *requirements: str) -> Path:
    """Create a virtual environment with these packages; return its `bin`."""
    if shutil.which("uv"):
        call("uv", "venv", "-q", "-p", sys.executable, folder)
        call("uv", "pip", "install", "-q", "-p", folder / "bin" / "python", *requirements)
    else:
        call(sys.executable, "-m", "venv", folder)
        call(folder / "bin" / "python", "-m", "pip", "install", "-q", *requirements)
        call(folder / "bin" / "python", "-m", "pip", "uninstall", "-q", "-y", "pip", "setuptools")
    return folder / "bin"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    tools = environment_with(folder / "tools", "build", "twine", "readme-renderer[md]")
    call(tools / "python", "-m", "build", "--outdir", folder / "dist", ROOT)
    told = call(tools / "twine", "check", "--strict", *(folder / "dist").iterdir())
    assert told.count("PASSED") == 2
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def measured():
    """The size and the number of packages of each extra; compares them with the page, or writes them into it."""
    found: dict[str, tuple[int, int]] = {}
    yield found
    text = PAGE.read_text(encoding="utf-8")
    for extra, (size, packages) in found.items():
        name = f"`{extra}`" if extra else "none"
        row = re.search(rf"^\| {name} \|.*\| (\d+) MB \| (\d+) \|$", text, re.MULTILINE)
        assert row is not None, name
        if os.environ.get("WRITE_SIZES"):
            line = row[0].rsplit("|", 3)[0] + f"| {size} MB | {packages} |"
            text = text.replace(row[0], line)
        else:
            assert abs(size - int(row[1])) <= max(5, int(row[1]) // 4), f"{name}: {size} MB, the page says {row[1]}"
    if os.environ.get("WRITE_SIZES"):
        PAGE.write_text(text, encoding="utf-8")


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"servey", f"servey-{__version__}.dist-info"}
    assert {name for name in names if "/tests/" in name and "/new_" not in name} == set()
    assert not [
        name for name in names if re.search(r"bench|__pycache__|\.pyc$|(^|/)\.", name.replace(".gitignore.txt", ""))
    ]
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "servey").rglob("*") if path.is_file()}
    missing = {name for name in here if "__pycache__" not in name} - set(names)
    assert missing == set()
    for name in (
        "servey/py.typed",
        "servey/console/console.js",
        "servey/layout/files/page.css",
        "servey/guide/SKILL.md",
    ):
        assert name in names


def test_the_source_distribution_runs_its_tests(built, tmp_path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = next(tmp_path.iterdir())
    told = call(
        sys.executable, "-m", "pytest", "-q", "tests/core/test_actions.py", "tests/repo/test_tree.py", cwd=folder
    )
    assert re.search(r"\d+ passed", told)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_alone(wheel, tmp_path, measured, extra):
    folder = tmp_path / "env"
    programs = environment_with(folder, f"servey{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}")
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    measured[extra] = round(size / 2**20), len(list(folder.rglob("*.dist-info")))
    call(programs / "python", "-c", f"import sys; sys.path.insert(0, '')\n{USES[extra]}", cwd=tmp_path)
    if extra in ("standard", "granian", "all"):
        assert f"servey {__version__}\n" in call(programs / "servey", "--version")
        assert call(programs / "servey", "call", "say_hello", "name=You", cwd=tmp_path) == '"Hello You!"\n'
        server = "granian" if extra == "granian" else "uvicorn"
        port = free_port()
        log = tmp_path / "server.log"
        with log.open("w", encoding="utf-8") as out:
            words = [programs / "servey", "run", "--port", str(port), "--server", server]
            process = subprocess.Popen(
                words, cwd=tmp_path, env=bare_environment(), stdout=out, stderr=out, encoding="utf-8"
            )
            try:
                wait_for_port(port, process, log)
                url = f"http://127.0.0.1:{port}/actions/say-hello?name=You"
                assert httpx.get(url).json() == "Hello You!"
            finally:
                process.terminate()
                process.wait(20)
    else:
        command = subprocess.run([programs / "servey", "--version"], capture_output=True, encoding="utf-8", check=False)
        assert (command.returncode, 'extra "standard"' in command.stderr) == (1, True), command.stderr


def test_the_names_of_servey_5_are_those_extras(wheel):
    metadata = zipfile.ZipFile(wheel).read(f"servey-{__version__}.dist-info/METADATA").decode()

    def packages(extras: str) -> set[str]:
        return {
            line.split(";")[0]
            for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
            if any(f"extra == '{extra}'" in line for extra in extras.split(","))
        }

    for old, new in ALIASES.items():
        assert packages(old) == packages(new), old
    assert packages("dev") == packages("all")


@pytest.mark.parametrize(("template", "extras"), [("basic", "standard"), ("database", "standard,graphql")])
def test_a_new_project_is_tested_by_the_command_that_it_names(wheel, tmp_path, template, extras):
    servey = f"servey[{extras}] @ {wheel.as_uri()}"
    programs = environment_with(tmp_path / "env", servey)
    project = tmp_path / "shop"
    told = call(programs / "servey", "new", project, "--template", template)
    if (project / "requirements.txt").exists():
        programs = environment_with(tmp_path / "more", servey, "-r", str(project / "requirements.txt"))
    command = re.search(r"^ *(python -m \S+.*)$", told, re.MULTILINE)
    assert command is not None, told
    program, *words = command[1].split()
    assert program == "python"
    call(programs / "python", *words, cwd=project)
    assert json.loads(call(programs / "servey", "openapi", "-o", "-", cwd=project))["paths"]
