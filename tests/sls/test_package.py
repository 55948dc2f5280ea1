"""`servey package`, and its zip in Lambda's own runtime client."""

import json
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from servey import ConfigError
from servey.sls import package
from servey.sls.package import deployed_as
from tests.aws.gateways import Request, function_url, http_api
from tests.aws.lambda_runtime import LambdaFunction
from tests.aws.tools import python_of
from tests.serving import ROOT, run
from tests.sls.layouts import wheel

HELLO = http_api(Request("GET", "/actions/say-hello?name=World"))


LAYERED_ACTIONS = """
from servey_test_layered import greet
from servey import WEB_GET, action


@action(triggers=WEB_GET)
def say_hello(name: str) -> str:
    return greet(name)
"""


def here() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


# ------------------------------------------------------------------------------------------------------------- for whom


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("", None, "arm64"),
        ("", "x86_64", "x86_64"),
        (f"provider:\n  runtime: {here()}\n  architecture: x86_64\n", None, "x86_64"),
        (f"provider:\n  runtime: '{here()}'\n  architecture: arm64\n", "arm64", "arm64"),
        ("provider:\n  runtime: python3.9\n", None, "yml is python3.9, but this is python3"),
        ("provider:\n  architecture: arm64\n", "x86_64", "yml is arm64, not x86_64"),
    ],
)
def test_serverless_yml_says_for_which_processor(tmp_path, text, asked, expected):
    file = tmp_path / "serverless.yml"
    if text:
        file.write_text(text, encoding="utf-8")
    if expected in ("arm64", "x86_64"):
        assert deployed_as(str(file), asked) == expected
    else:
        with pytest.raises(ConfigError, match=expected):
            deployed_as(str(file), asked)


def test_another_processor_is_bad_usage(tmp_path):
    done = run("-m", "servey", "package", "--architecture", "mips", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: --architecture must be arm64 or x86_64\n")


def test_what_is_too_large_is_refused(tmp_path, monkeypatch):
    (tmp_path / "large.bin").write_bytes(bytes(3 << 20))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "LARGEST_BYTES", 1 << 20)
    monkeypatch.setattr(package, "install", lambda *args: None)
    monkeypatch.setattr(package, "start_here", lambda handler: {"error": None, "modules": {}, "methods": []})
    with pytest.raises(ConfigError, match=r"Lambda's limit is 1 MB; the largest parts are .*large.bin 3 MB"):
        package.build_package(tmp_path / "x.zip", package.Wanted("arm64", "servey.aws.handler"), lambda text: None)
    assert not (tmp_path / "x.zip").exists()


# ------------------------------------------------------------------------------------------------------------ the zip


slow = [pytest.mark.slow, pytest.mark.timeout(900)]


class TestPackaged:
    pytestmark = slow

    def test_it_is_the_same_each_time(self, packaged):
        one, two = (packaged / ".servey" / f"x86_64-{number}.zip" for number in (1, 2))
        assert one.read_bytes() == two.read_bytes()

    def test_what_is_in_it(self, packaged):
        names = set(zipfile.ZipFile(packaged / ".servey" / "arm64-1.zip").namelist())
        tops = {name.partition("/")[0] for name in names}
        cache = f"__pycache__/actions.cpython-3{sys.version_info.minor}.pyc"
        assert {
            "actions.py",
            cache,
            "templates/a.j2",
            "servey/app.py",
            "mangum/__init__.py",
            "yaml/__init__.py",
            "servey/compat/generated_methods.bin",
        } <= names
        assert {
            "library_of_ours.py",
            "servey_test_included.py",
            "servey_test_constrained.py",
            "servey_test_hashed.py",
            "servey_test_grouped.py",
            "bin/tool",
        } <= names
        assert not tops & {
            "boto3",
            "botocore",
            "s3transfer",
            "uvicorn",
            "typer",
            "arq",
            "redis",
            "servey_test_unmarked.py",
        }
        assert {"graphql", "strawberry"} <= tops  # they are installed here, so the app serves /graphql
        assert not tops & {".env", "tests", "test_b.py", "node_modules", "venv", ".servey"}
        libraries = {name for name in names if name.endswith(".so")}
        assert libraries
        assert all("aarch64" in name or "x86" not in name for name in libraries)


@pytest.fixture
def function(task: Path):
    with LambdaFunction(python_of("lambda_runtime"), task, "servey.aws.handler", timeout=20) as function:
        yield function


def direct(action: str, **params: Any) -> dict[str, Any]:
    return {"servey": {"action": action, "params": params}}


class TestExplained:
    pytestmark = slow

    @pytest.mark.parametrize(
        "line",
        [
            "actions.py: file of the project",
            "library_of_ours.py: module 'library_of_ours' is imported from ../library",
            "servey_test_hashed.py: servey_test_hashed 1.0, required by requirements.txt:7",
            "servey_test_grouped.py: servey_test_grouped 1.0, required by pyproject.toml (--group extra)",
            ".env: left out: it may contain a secret",
            "left out, because it is a virtual environment: venv/",
            "left out, because it contains tests: test_b.py, tests/",
        ],
    )
    def test_each_file_has_a_reason(self, packaged, line):
        assert line in (packaged / ".servey" / "x86_64.txt").read_text(encoding="utf-8").splitlines()

    def test_what_does_not_start_is_not_written(self, tmp_path):
        lines = (
            "import sqlalchemy",
            "import argon2",
            "from servey import action",
            "@action",
            "def one() -> int: return 1",
        )
        (tmp_path / "actions.py").write_text("\n".join(lines), encoding="utf-8")
        done = run("-m", "servey", "package", "--architecture", "x86_64", cwd=tmp_path, timeout=400)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            f"error: actions.py:{line} imports '{module}', which is not in the package: it is of the package {package}, "
            f"which the project does not require; add {package} to requirements.txt"
            for line, module, package in ((1, "sqlalchemy", "SQLAlchemy"), (2, "argon2", "argon2-cffi"))
        ]
        assert not (tmp_path / ".servey" / "lambda.zip").exists()

    def test_what_a_layer_provides_is_not_in_the_package(self, tmp_path):
        """No index has the requirement of this project: only the layer does."""
        project, layer = tmp_path / "shop", tmp_path / "layer"
        wheel(tmp_path, "servey_test_layered", servey_test_layered="def greet(name):\n    return f'Hello {name}!'\n")
        with zipfile.ZipFile(tmp_path / "servey_test_layered-1.0-py3-none-any.whl") as archive:
            archive.extractall(layer / "python")
        project.mkdir()
        text = LAYERED_ACTIONS
        (project / "actions.py").write_text(text, encoding="utf-8")
        (project / "requirements.txt").write_text("servey_test_layered\n", encoding="utf-8")
        words = ("-m", "servey", "package", "--architecture", "x86_64")
        path = f"{ROOT}:{layer / 'python'}"
        done = run(*words, "--layer", str(layer), cwd=project, timeout=400, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        task = tmp_path / "task"
        with zipfile.ZipFile(project / ".servey" / "lambda.zip") as archive:
            archive.extractall(task)
        assert not (task / "servey_test_layered.py").exists()
        python = python_of("lambda_runtime")
        with LambdaFunction(python, task, "servey.aws.handler", PYTHONPATH=f"{task}:{layer / 'python'}") as function:
            assert function.invoke(HELLO).payload["body"] == '"Hello World!"', function.said()

    def test_a_program_stays_one(self, packaged):
        with zipfile.ZipFile(packaged / ".servey" / "x86_64-1.zip") as archive:
            assert archive.getinfo("bin/tool").external_attr >> 16 == 0o755


class TestRuntime:
    pytestmark = slow

    def test_it_answers_and_stays_warm(self, function):
        first = function.invoke(HELLO)
        assert (first.error, first.payload["body"], first.cold) == (None, '"Hello World!"', True), function.said()
        second = function.invoke(HELLO)
        assert (second.error, second.cold) == (None, False)

    def test_nothing_runs_between_two_invocations(self, function):
        assert function.invoke(direct("start_beating")).error is None, function.said()
        time.sleep(1)
        assert function.invoke(direct("longest_silence")).payload > 0.8

    def test_no_thread_of_ours_is_left_running(self, function):
        function.invoke(HELLO)
        assert function._process is not None
        threads = len(list(Path(f"/proc/{function._process.pid}/task").iterdir()))
        function.invoke(HELLO)
        assert len(list(Path(f"/proc/{function._process.pid}/task").iterdir())) == threads

    def test_a_request_that_takes_too_long_is_answered_in_time(self, task):
        with LambdaFunction(python_of("lambda_runtime"), task, "servey.aws.handler", timeout=2) as function:
            function.invoke(HELLO)
            late = function.invoke(direct("slow", seconds=20))
            assert late.error == "CallFailed"
            assert "(timeout)" in late.payload["errorMessage"]
            assert late.seconds < 2
            assert function.invoke(HELLO).cold is False

    def test_the_script_starts_the_runtime_that_streams(self, packaged, task):
        script = "servey_stream"
        entry = zipfile.ZipFile(packaged / ".servey" / "x86_64-1.zip").getinfo(script)
        assert entry.external_attr >> 16 == 0o755
        # Lambda runs it with the path of Python and the arguments of its own runtime.
        command = (str(task / script), str(python_of("lambda_runtime")))
        with LambdaFunction(Path("/bin/sh"), task, "servey.aws.handler", command=command) as function:
            done = function.invoke(function_url(Request("GET", "/actions/say-hello?name=World")))
            metadata, _, body = done.payload.partition(b"\0" * 8)
            assert (json.loads(metadata)["statusCode"], body) == (200, b'"Hello World!"')

    def test_an_answer_of_7_mb_is_reported(self, function):
        assert function.invoke(direct("large", size=7 << 20)).error in ("CallFailed", "Function.ResponseSizeTooLarge")
        assert function.invoke(HELLO).payload["statusCode"] == 200

    def test_a_cold_start_takes_no_longer_than_bare_fastapis(self, task):
        python = python_of("lambda_runtime")
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(task / "bare.py")],
            check=True,
        )
        seconds: dict[str, list[float]] = {"bare.handler": [], "servey.aws.handler": []}
        for _ in range(9):
            for handler, taken in seconds.items():
                with LambdaFunction(python, task, handler) as function:
                    answer = function.invoke(HELLO)
                    assert json.loads(answer.payload["body"]) == "Hello World!"
                    taken.append(function.cpu_seconds())
        pairs = zip(*seconds.values(), strict=True)  # whatever disturbs one start disturbs the next one too
        assert statistics.median(ours / bare for bare, ours in pairs) <= 1, seconds
