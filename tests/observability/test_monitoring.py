"""Real monitoring packages see every request once, under the name of its route, as they do in a FastAPI app."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.observability.monitoring.watch import PACKAGES, REQUESTS

HERE = Path(__file__).parent / "monitoring"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE", "PYTHON"))}

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The Python of an environment with the packages in front of what is installed here."""
    folder = tmp_path_factory.mktemp("monitoring")
    subprocess.run([sys.executable, "-m", "venv", folder], env=ENVIRONMENT, check=True)
    python = folder / "bin" / "python"
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(where, check=True, capture_output=True, encoding="utf-8").stdout.strip()
    here = sysconfig.get_path("purelib")
    (Path(own) / "here.pth").write_text(f"{here}\n{ROOT}\n", encoding="utf-8")
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], env=ENVIRONMENT, check=True)
    return python


@pytest.mark.parametrize("package", [each.__name__ for each in PACKAGES])
def test_each_request_is_seen_once_as_in_fastapi(python, package):
    command = [python, HERE / "watch.py", package]
    watching = subprocess.run(
        command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert watching.returncode == 0, watching.stderr[-2000:]
    found = json.loads(watching.stdout.splitlines()[-1])
    expected = found["fastapi"]
    # slowapi counts only what a route answers.
    assert len(expected["seen"]) == len(REQUESTS) - (2 if package == "slowapi" else 0)
    for name in ("servey", "installed"):
        assert found[name]["statuses"] == expected["statuses"], name
        assert found[name]["seen"] == expected["seen"], name
