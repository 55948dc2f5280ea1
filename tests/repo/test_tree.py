"""What must not stand in the tree, and what must."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving import ROOT

HOSTS = re.compile(rb"(pypi|pythonhosted|npmjs|registry\.yarnpkg)\.(org|com)", re.IGNORECASE)
MACHINE = re.compile(rb"(?<![\w.])/(root|home/\w+|work)/")


def tracked() -> list[str]:
    """The project's files, by git; without git, every file outside folders with a dot and caches."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
        return [name for name in names if not re.search(r"(^|/)(\.(?!ci/)|__pycache__/)", name)]
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name]


def test_no_registry_and_no_machine_is_named():
    for name in tracked():
        content = (ROOT / name).read_bytes() if (ROOT / name).exists() else b""
        if name != "tests/repo/test_tree.py" and b"\0" not in content:
            assert not HOSTS.search(content), name
            assert not MACHINE.search(content), name


def test_requirements_are_pinned_and_have_no_address():
    run = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    first, *development = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    assert first == "-r requirements.txt"
    assert run
    assert not set(run) & set(development)
    for line in [*run, *development]:
        assert re.fullmatch(r"[A-Za-z0-9_.\[\]-]+==[0-9][\w.]*( ; .+)?", line), line


def test_running_the_tour_needs_no_test_tools():
    run = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"^(pytest|mypy|pyright|playwright|ruff|coverage|nodejs)", run, re.MULTILINE)


@pytest.mark.parametrize("command", ["run", "test", "lint", "types", "docs", "slow", "browser", "bench", "changelog"])
def test_make_has_the_same_commands(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^run .*\b{command}\b|^{command}\b", makefile, re.MULTILINE)
    assert f"python3 dev.py {command}" in (ROOT / "dev.py").read_text(encoding="utf-8")


def test_ci_calls_the_readmes_test_command():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "step test" in ci
    assert 'python3 dev.py "$@"' in ci
    assert "python3 dev.py test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_changelog_entries_have_their_form():
    for path in sorted((ROOT / "changelog.d").glob("*")):
        assert re.fullmatch(r"[a-z0-9-]+\.md", path.name), f"{path.name}: name it short-name.md"
        kind, _, text = path.read_text(encoding="utf-8").partition("\n")
        assert kind in ("Added", "Changed", "Fixed", "Security"), f"{path.name}: its first line is the section"
        assert re.search(r"[.!?`]$", text.strip()), f"{path.name}: write one sentence or more"
        assert not re.search(r"^(#|[-*] )", text, re.MULTILINE), f"{path.name}: no headings and no lists"


def test_no_module_is_over_400_lines():
    names = [name for name in tracked() if name.endswith((".py", ".js", ".css")) and (ROOT / name).exists()]
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in names}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def without_encoding(path: Path) -> list[int]:
    """The lines that read or write text, in a file or of a subprocess, without an encoding."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {word.arg: word.value for word in node.keywords}
            texts = [words.get("text"), words.get("universal_newlines")]
            is_file = node.func.attr == "write_text" or (node.func.attr == "read_text" and not node.args)
            is_process = any(isinstance(each, ast.Constant) and each.value is True for each in texts)
            if (is_file or is_process) and "encoding" not in words:
                found.append(node.lineno)
    return found


def test_text_is_read_and_written_as_utf_8():
    files = [path for name in ("servey", "tests", "examples", "benchmarks") for path in (ROOT / name).rglob("*.py")]
    assert {str(path): lines for path in files if (lines := without_encoding(path))} == {}
