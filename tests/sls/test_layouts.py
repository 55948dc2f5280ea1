"""Packages of many project layouts: what is in them, whether they start, and what is said if they do not."""

import os
import sys
from pathlib import Path

import pytest

from servey import ConfigError
from servey.sls.package import project_entries, why_missing
from servey.sls.packaging.contents import Included, LeftOut, copy_files, outside_modules, project_files
from servey.sls.packaging.installing import check_hashes, plan_of
from servey.sls.packaging.proof import prove_folder, start_here
from servey.sls.packaging.requirements import Requirement, poetry_version, read_requirements
from tests.aws.gateways import Request, http_api
from tests.aws.lambda_runtime import LambdaFunction
from tests.aws.tools import python_of
from tests.sls.layouts import LAYOUTS, Layout

HELLO = http_api(Request("GET", "/actions/say-hello?name=World"))


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Makes the files of a layout, stages its package without its requirements, and returns all that is known of it."""

    def make(layout: Layout, *, start: bool = False):
        write(tmp_path, layout.files)
        folder = tmp_path / "project"
        for name, target in layout.links.items():
            (tmp_path / name).symlink_to(target)
        monkeypatch.chdir(folder)
        paths = [str(tmp_path / path) for path in layout.paths]
        monkeypatch.setattr(sys, "path", [str(folder), *paths, *sys.path])
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        for name, value in layout.env.items():
            monkeypatch.setenv(name, value)
        loaded = start_here(handler_of(layout))["modules"] if start else {}
        entries, _ = project_entries(folder, loaded, handler_of(layout), folder / ".servey" / "lambda.zip")
        root = tmp_path / "task"
        root.mkdir()
        copy_files(entries, root)
        return folder, root, entries

    return make


def handler_of(layout: Layout) -> str:
    return layout.env.get("SERVEY_AWS_HANDLER", "servey.aws.handler")


def names_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.never and not layout.env])
def test_what_never_goes_into_a_package(stage, name):
    _, root, _ = stage(LAYOUTS[name])
    assert set(LAYOUTS[name].tops) <= {path.name for path in root.iterdir()}
    assert not set(LAYOUTS[name].never) & names_in(root)


# ---------------------------------------------------------------------------------------------------------- the proof


@pytest.fixture
def with_requirements(task):
    """Adds what Servey requires to a staged package."""

    def add(root: Path) -> None:
        shop = {"actions.py", "bare.py", "library_of_ours.py", "templates", "bin", "more", "__pycache__"}
        for path in task.iterdir():
            if path.name not in shop and not (root / path.name).exists():
                (root / path.name).symlink_to(path)

    return add


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_package_starts_or_the_reason_is_named(stage, with_requirements, name):
    layout = LAYOUTS[name]
    folder, root, entries = stage(layout, start="named" in name or bool(layout.env))
    with_requirements(root)
    declared = read_requirements(folder)
    own = {entry.name for entry in entries if isinstance(entry, Included)}
    proof = prove_folder(root, handler_of(layout), own, lambda module: why_missing(module, folder, entries, declared))
    if layout.problem:
        assert any(layout.problem in problem for problem in proof.problems), proof
    else:
        assert proof.problems == ()
        assert set(layout.tops) <= {path.name for path in root.iterdir()}
    assert [layout.warning in warning for warning in proof.warnings] == ([True] if layout.warning else [])


@pytest.mark.drill
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if not layout.problem])
def test_a_package_starts_in_lambdas_runtime(stage, with_requirements, name):
    layout = LAYOUTS[name]
    _, root, _ = stage(layout, start="named" in name or bool(layout.env))
    with_requirements(root)
    with LambdaFunction(python_of("lambda_runtime"), root, handler_of(layout), **layout.env) as function:
        answer = function.invoke(HELLO)
        assert answer.error is None, function.said()
        assert answer.payload["statusCode"] == 200


# ----------------------------------------------------------------------------------------------------- requirements


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": "a\nb==1  # why\n\n# c\n"}, ["a", "b==1"]),
        ({"requirements.txt": "-r more/base.txt\n", "more/base.txt": "a\n--requirement=other.txt\n", "more/other.txt": "b\n"}, ["a", "b"]),
        ({"requirements.txt": "-r requirements.txt\na\n"}, ["a"]),
        ({"requirements.txt": "-c c.txt\na\n", "c.txt": "a==1\n"}, ["a", "!a==1"]),
        ({"requirements.txt": "a; python_version < '3'\n"}, ["a; python_version < '3'"]),
        ({"requirements.txt": "--extra-index-url https://packages.example/simple\n--pre\na\n"}, ["--extra-index-url https://packages.example/simple", "--pre", "a"]),
        ({"requirements.txt": "a==1 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n"}, ["a==1 sha256:1 sha256:2"]),
        ({"requirements.txt": "a @ https://packages.example/a.whl\n"}, ["a @ https://packages.example/a.whl"]),
        ({"requirements.txt": "--only-binary=:all:\na\n"}, ["a"]),
        ({"requirements.txt": "${NAME_OF_A}>=1\n"}, ["a>=1"]),
        ({"pyproject.toml": '[project]\nname = "x"\ndependencies = ["a>=1", "b[c]"]\n'}, ["a>=1", "b[c]"]),
        ({"pyproject.toml": '[project]\nname = "x"\n[project.optional-dependencies]\nmore = ["a"]\nless = ["b"]\n'}, ["a"]),
        ({"pyproject.toml": '[dependency-groups]\nprod = [{include-group = "base"}]\nbase = ["a"]\ndev = ["b"]\n'}, ["a"]),
        ({"pyproject.toml": '[project]\ndynamic = ["dependencies"]\n[tool.setuptools.dynamic]\ndependencies = {file = ["in.txt"]}\n', "in.txt": "a\n"}, ["a"]),
        ({"pyproject.toml": '[project]\ndependencies = ["a"]\n[tool.uv.sources]\na = {git = "https://code.example/a", tag = "v1"}\n'}, ["a @ git+https://code.example/a@v1"]),
        ({"pyproject.toml": '[project]\ndependencies = ["a"]\n[tool.uv]\nconstraint-dependencies = ["a<2"]\n'}, ["a", "!a<2"]),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.11"\na = "^1.2"\nb = {version = "~1", extras = ["c"]}\nc = {version = "*", optional = true}\n'}, ["a>=1.2,<2", "b[c]>=1,<2"]),
        ({"pyproject.toml": '[tool.poetry.dependencies]\na = {version = "1", python = ">=3.12", markers = "os_name == \'nt\'"}\n'}, ["a==1 ; (os_name == 'nt') and python_version >= '3.12'"]),
        ({"pyproject.toml": '[tool.poetry.group.prod.dependencies]\na = "*"\n[tool.poetry.group.dev.dependencies]\nb = "*"\n'}, ["a"]),
        ({"pyproject.toml": '[project]\ndependencies = ["a"]\n', "requirements.txt": "b\n"}, ["a", "b"]),
        ({"pyproject.toml": "[tool.ruff]\n"}, []),
    ],
)  # fmt: skip
def test_requirements_are_read(tmp_path, monkeypatch, files, expected):
    monkeypatch.setenv("NAME_OF_A", "a")
    write(tmp_path, files)
    text = files.get("pyproject.toml", "")
    groups = ["prod"] if "prod" in text else []
    found = read_requirements(tmp_path, groups, ["more"] if "more" in text else [])
    lines = [*found.options, *(" ".join([each.text, *each.hashes]) for each in found.requirements)]
    assert [*lines, *(f"!{' '.join([each.text, *each.hashes])}" for each in found.constraints)] == expected


@pytest.mark.parametrize(
    ("line", "name", "extras"),
    [
        ("-e ../library", "library", set()),
        ("--editable=../library[s3]", "library", {"s3"}),
        ("../library", "library", set()),
        ("library @ file://{top}/library", "library", set()),
    ],
)
def test_a_local_project_is_a_folder(tmp_path, line, name, extras):
    write(tmp_path, {"project/requirements.txt": line.format(top=tmp_path), "library/setup.py": ""})
    assert read_requirements(tmp_path / "project").folders == {tmp_path / name: extras}


@pytest.mark.parametrize("tool", ["uv", "poetry"])
def test_uv_and_poetry_know_local_projects(tmp_path, tool):
    text = {
        "uv": '[project]\ndependencies = ["library[s3]>=1"]\n[tool.uv.sources]\nLibrary = {path = "../library", editable = true}\n',
        "poetry": '[tool.poetry.dependencies]\nlibrary = {path = "../library", develop = true, extras = ["s3"]}\n',
    }[tool]
    write(tmp_path, {"project/pyproject.toml": text, "library/setup.py": ""})
    assert read_requirements(tmp_path / "project").folders == {tmp_path / "library": {"s3"}}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"requirements.txt": "a\n-r none.txt\n"}, "requirements.txt:2: none.txt does not exist"),
        ({"requirements.txt": "-e ../none\n"}, "requirements.txt:1: ../none does not exist"),
        ({"requirements.txt": "./a.whl --hash=sha256:1\n", "a.whl": "x"}, "requirements.txt:1: ./a.whl has none of its hashes"),
        ({"requirements.txt": "--root /\n"}, "requirements.txt:1: the option --root is not supported"),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml is not valid"),
        ({"pyproject.toml": '[dependency-groups]\na = [{include-group = "a"}]\n'}, "the dependency group 'a' includes itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, files, problem):
    write(tmp_path, files)
    with pytest.raises(ConfigError, match=problem.replace(".", r"\.")):
        read_requirements(tmp_path)


def test_an_unknown_group_is_named(tmp_path):
    write(tmp_path, {"pyproject.toml": "[dependency-groups]\nprod = []\n"})
    with pytest.raises(ConfigError, match="no group or extra dev; it has prod"):
        read_requirements(tmp_path, ["dev"])


@pytest.mark.parametrize(
    ("poetry", "expected"),
    [
        ("^1.2.3", ">=1.2.3,<2"), ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("^0", ">=0,<1"), ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"), ("1.2", "==1.2"), ("1.*", "==1.*"), (">=1, <2", ">=1,<2"), ("*", ""), ("^1 || ^2", ""), ("~=1.2", "~=1.2"),
    ],
)  # fmt: skip
def test_versions_of_poetry(poetry, expected):
    assert poetry_version(poetry) == expected


def test_what_was_installed_from_a_folder_is_copied_and_what_it_requires_is_installed(tmp_path, monkeypatch):
    info = "site/library-1.0.dist-info"
    write(
        tmp_path,
        {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: library\nVersion: 1.0\nRequires-Dist: included\n"
            "Requires-Dist: remote; extra == 's3' and python_version >= '3.8'\nRequires-Dist: other; extra == 'x'\n",
            f"{info}/direct_url.json": f'{{"url": "file://{tmp_path}/library", "dir_info": {{"editable": true}}}}',
            f"{info}/RECORD": "library-1.0.dist-info/METADATA,,\n",
            "project/requirements.txt": "-e ../library[s3]\n",
            "library/library.py": "",
        },
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    plan = plan_of(read_requirements(tmp_path / "project"), [Requirement("servey", "")], {"servey"})
    assert [each.text for each in plan.requirements] == [
        "included",
        "remote ; python_version >= '3' and python_version >= '3.8'",
    ]
    assert [each.name for each in plan.copied] == ["library"]


def test_hashes_of_constraints_count_too(tmp_path):
    write(
        tmp_path,
        {"requirements.txt": "-c locked.txt\na\n", "locked.txt": "a==1 --hash=sha256:0\nunused==1 --hash=sha256:1\n"},
    )
    plan = plan_of(read_requirements(tmp_path), [], ())
    installed = {"metadata": {"name": "A"}, "download_info": {"archive_info": {"hashes": {"sha256": "0"}}}}
    check_hashes(plan.constraints, {"install": [installed]})
    installed["download_info"]["archive_info"]["hashes"]["sha256"] = "2"
    with pytest.raises(ConfigError, match="a: the installed file has none of the hashes"):
        check_hashes(plan.constraints, {"install": [installed]})


# ---------------------------------------------------------------------------------------------------------- contents


def test_what_is_left_out_says_why(tmp_path):
    write(
        tmp_path,
        {
            "actions.py": "",
            "notes.db": "",
            "data/a.SQLITE3-wal": "",
            ".env": "",
            "a/server.PEM": "",
            "tests/a.py": "",
            "deep/tests/a.py": "",
            "lambda.zip": "",
        },
    )
    os.mkfifo(tmp_path / "pipe")
    entries = project_files(tmp_path, [], tmp_path / "lambda.zip")
    assert [entry.name for entry in entries if isinstance(entry, Included)] == ["actions.py", "deep/tests/a.py"]
    assert {entry.name: entry.reason for entry in entries if isinstance(entry, LeftOut)} == {
        ".env": "it may contain a secret",
        "a/server.PEM": "it may contain a secret",
        "data/a.SQLITE3-wal": "it is a database of this machine",
        "lambda.zip": "it is the package",
        "notes.db": "it is a database of this machine",
        "pipe": "it is not a regular file",
        "tests/": "it contains tests",
    }


def test_installed_packages_are_not_modules_from_elsewhere(tmp_path):
    write(tmp_path, {"a.py": "import json, fastapi, servey\nfrom . import b\nimport nothing_of_the_kind\n"})
    found = outside_modules(tmp_path, [tmp_path / "a.py"], [])
    assert found == []
