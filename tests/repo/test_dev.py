"""dev.py speaks clearly to those who have nothing yet."""

import os
import subprocess
import sys

import pytest

from tests.serving import ROOT

DEV = ROOT / "dev.py"


def dev(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(DEV), *words], capture_output=True, text=True, timeout=60, check=False, cwd="/", **options
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
        f"exec(open({str(DEV)!r}).read(), {{'__file__': {str(DEV)!r}, '__name__': '__main__'}})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "Servey needs Python 3.11 or newer and this is 3.9; call another one, e.g.: python3.12 dev.py test\n"
    )


def test_debians_missing_package_is_named(tmp_path):
    # A Debian without python3-venv: `venv` fails, since `ensurepip` can not be imported.
    copy = tmp_path / "clone"
    copy.mkdir()
    for name in ("dev.py", "requirements.txt", "pyproject.toml"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "ensurepip.py").write_text("raise ImportError('no ensurepip')\n")
    (hidden / "venv.py").write_text("import sys\nsys.exit('ensurepip is not available')\n")
    done = subprocess.run(
        [sys.executable, str(copy / "dev.py"), "test"],
        env={"PYTHONPATH": str(hidden), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.stderr.splitlines()[-1].endswith(f"sudo apt install python{version}-venv")
    assert "Traceback" not in done.stderr


def test_a_termination_reaches_what_it_runs():
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import dev; "
        "sys.exit(dev.call([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)']))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.terminate()
        process.wait(10)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
