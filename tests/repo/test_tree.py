"""What must not stand in the tree, and what must."""

import re
import subprocess

import pytest

from tests.serving import ROOT

HOSTS = re.compile(rb"(pypi|pythonhosted|npmjs|registry\.yarnpkg)\.(org|com)", re.IGNORECASE)
MACHINE = re.compile(rb"(?<![\w.])/(root|home/\w+|work)/")


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name]


def test_no_registry_and_no_machine_is_named():
    for name in tracked():
        content = (ROOT / name).read_bytes() if (ROOT / name).exists() else b""
        if name != "tests/repo/test_tree.py" and b"\0" not in content:
            assert not HOSTS.search(content), name
            assert not MACHINE.search(content), name


def test_requirements_are_pinned_and_have_no_address():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.\[\]-]+==[0-9][\w.]*( ; .+)?", line), line


@pytest.mark.parametrize("command", ["run", "test", "lint", "types", "docs", "slow", "browser", "bench"])
def test_make_has_the_same_commands(command):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^run .*\b{command}\b|^{command}\b", makefile, re.MULTILINE)
    assert f"python3 dev.py {command}" in (ROOT / "dev.py").read_text()


def test_ci_calls_the_readmes_test_command():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "step test" in ci
    assert 'python3 dev.py "$@"' in ci
    assert "python3 dev.py test" in (ROOT / "README.md").read_text()
