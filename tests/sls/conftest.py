"""A project of files, and commands in it; a project with everything that a package may be made of, packaged once."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ROOT, run
from tests.sls.layouts import ACTIONS, BARE, wheel


@pytest.fixture
def project(tmp_path, command_line):
    """Make a project of files; returns a function that runs a command in it."""
    folder = tmp_path / "my shop"

    def make(files: dict[str, str]) -> Any:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return lambda *words, **env: command_line.run(*words, cwd=folder, PYTHONDONTWRITEBYTECODE="1", **env)

    make.folder = folder
    return make


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project, with its packages in `.servey`."""
    top = tmp_path_factory.mktemp("package")
    folder = top / "shop"
    digest = wheel(top / "wheels", "servey_test_hashed", servey_test_hashed="X = 1\n")
    for name in ("servey_test_included", "servey_test_constrained", "servey_test_unmarked", "servey_test_grouped"):
        wheel(top / "wheels", name, **{name: "X = 1\n"})
    files = {
        "shop/actions.py": ACTIONS,
        "shop/bare.py": BARE,
        "shop/requirements.txt": "servey\nboto3\npyyaml  # for the shop\n--find-links ../wheels\n-r more/base.txt\n-e ../library\n"
        f"servey_test_hashed==1.0 \\\n    --hash={digest}\nservey_test_unmarked; python_version < '3'\n",
        "shop/more/base.txt": "-c constraints.txt\nservey_test_included\nservey_test_constrained\n",
        "shop/more/constraints.txt": "servey_test_constrained==1.0\n",
        "shop/pyproject.toml": '[dependency-groups]\nextra = ["servey_test_grouped"]\ntest = ["absent-from-every-index"]\n',
        "shop/templates/a.j2": "a",
        "shop/.env": "SECRET=1",
        "shop/tests/test_a.py": "",
        "shop/test_b.py": "",
        "shop/node_modules/a.js": "",
        "shop/venv/pyvenv.cfg": "",
        "shop/venv/lib/a.py": "",
        "shop/bin/tool": "#!/bin/sh\n",
        "library/library_of_ours.py": "import servey_test_included\n",
        "library/pyproject.toml": '[project]\nname = "library"\nversion = "1"\ndependencies = ["servey_test_included>=1"]\n',
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text, encoding="utf-8")
    (folder / "bin" / "tool").chmod(0o755)
    # Python imports from wheels too, so these requirements need not be installed here.
    path = ":".join(map(str, [ROOT, top / "library", *(top / "wheels").iterdir()]))
    for architecture in ("arm64", "x86_64"):
        for number in (1, 2) if architecture == "x86_64" else (1,):
            output = f".servey/{architecture}-{number}.zip"
            words = ("package", "--architecture", architecture, "--output", output, "--group", "extra", "--explain")
            done = run("-m", "servey", *words, cwd=folder, timeout=400, PYTHONPATH=path, SERVEY_AWS_STREAMING="1")
            assert done.returncode == 0, done.stderr
            (folder / ".servey" / f"{architecture}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def task(packaged: Path) -> Path:
    """The unpacked package."""
    folder = packaged.parent / "task"
    with zipfile.ZipFile(packaged / ".servey" / "x86_64-1.zip") as archive:
        archive.extractall(folder)
    return folder
