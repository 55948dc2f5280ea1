"""dev.py speaks clearly to those who have nothing yet."""

import os
import subprocess
import sys
import time

import pytest

from tests.serving import ROOT

DEV = ROOT / "dev.py"


def dev(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(DEV), *words],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        cwd="/",
        **options,
    )


def test_without_a_command_it_lists_them():
    for words in ([], ["--help"], ["help"]):
        done = dev(*words)
        assert (done.returncode, "python3 dev.py test" in done.stdout) == (0, True)


def test_an_unknown_command():
    done = dev("tset")
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no command 'tset'; there are: run, test, lint" in done.stderr


def test_an_old_python_is_told():
    program = (
        "import sys; sys.version_info = (3, 9, 1); sys.argv = ['dev.py', 'test']; "
        f"exec(open({str(DEV)!r}, encoding='utf-8').read(), {{'__file__': {str(DEV)!r}, '__name__': '__main__'}})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "Servey needs Python 3.11 or newer and this is 3.9; use a newer one, e.g.: python3.12 dev.py test\n"
    )


def test_debians_missing_package_is_named(tmp_path):
    # A Debian without python3-venv: `venv` fails, since `ensurepip` cannot be imported.
    copy = tmp_path / "clone"
    copy.mkdir()
    for name in ("dev.py", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "ensurepip.py").write_text("raise ImportError('no ensurepip')\n", encoding="utf-8")
    (hidden / "venv.py").write_text("import sys\nsys.exit('ensurepip is not available')\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(copy / "dev.py"), "test"],
        env={"PYTHONPATH": str(hidden), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.stderr.splitlines()[-1].endswith(f"sudo apt install python{version}-venv")
    assert "Traceback" not in done.stderr


def copied(folder, *names):
    for name in names:
        (folder / name).write_bytes((ROOT / name).read_bytes())


def changelog(folder, *words):
    return subprocess.run(
        [sys.executable, str(folder / "dev.py"), "changelog", *words],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.fixture
def clone(tmp_path):
    copied(tmp_path, "dev.py")
    entries = tmp_path / "changelog.d"
    entries.mkdir()
    (entries / "a.md").write_text("Fixed\n\nIt works again.\n", encoding="utf-8")
    (entries / "b.md").write_text("Added\nOne thing.\nAnother sentence.\n", encoding="utf-8")
    (entries / "c.md").write_text("Fixed\nAn ünusual name works.\n", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [6.0.0]\n", encoding="utf-8")
    return tmp_path


ENTRIES = """### Added

- One thing. Another sentence.

### Fixed

- It works again.
- An ünusual name works.
"""


def test_changelog_entries_are_printed(clone):
    assert changelog(clone).stdout == ENTRIES
    assert len(list((clone / "changelog.d").iterdir())) == 3


def test_changelog_entries_become_a_release(clone):
    assert changelog(clone, "6.1.0").returncode == 0
    text = (clone / "CHANGELOG.md").read_text(encoding="utf-8")
    today = time.strftime("%Y-%m-%d")
    assert text == f"# Changelog\n\n## [Unreleased]\n\n## [6.1.0] - {today}\n\n{ENTRIES}\n## [6.0.0]\n"
    assert list((clone / "changelog.d").iterdir()) == []


def test_a_release_without_a_version_changes_nothing(clone):
    done = changelog(clone, "next")
    assert done.returncode == 1
    assert "Name the version" in done.stderr
    assert len(list((clone / "changelog.d").iterdir())) == 3


def test_the_tour_installs_less_than_the_tests():
    import dev

    assert dev.REQUIREMENTS["run"] == ("requirements.txt",)
    assert dev.REQUIREMENTS["dev"] == ("requirements-dev.txt", "requirements.txt")
    assert dev.wanted_stamp("run") != dev.wanted_stamp("dev")


PIP = """
import sys, time
print("Collecting fastapi==1")
print("Collecting pydantic[email]==2 (from x)")
print("Installing collected packages: a, b")
sys.exit(%d)
"""


@pytest.mark.parametrize("code", [0, 1])
def test_it_shows_what_pip_does(tmp_path, code):
    (tmp_path / "pip.py").write_text(PIP % code, encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import dev; dev.pip('install', python=sys.executable, total=5)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == code
    assert "  1 of 5 packages found fastapi\n" in done.stderr
    assert ("pip could not install the requirements" in done.stderr) == (code == 1)


def test_a_termination_reaches_what_it_runs():
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import dev; "
        "sys.exit(dev.call([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)']))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.terminate()
        process.wait(10)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
