"""The RealWorld API, as its own tests see it: on SQLite, and on PostgreSQL."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.serving import ROOT, free_port, run

CONDUIT = ROOT / "examples" / "conduit"


def check(**environment):
    done = run("-m", "pytest", "-q", "tests", cwd=CONDUIT, timeout=120, **environment)
    assert (done.returncode, "7 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_its_own_tests_pass():
    check()


@pytest.fixture
def postgresql():
    """A server on loopback with a new, empty database. It refuses to run as root, so it runs as its own user then."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    folder = Path(tempfile.mkdtemp())
    as_user = []
    if folder.owner() == "root":
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    control = [*as_user, programs / "pg_ctl", "-D", folder / "data", "-w"]
    subprocess.run(
        [*control, "init", "-o", "--auth=trust --username=conduit"], check=True, capture_output=True, cwd="/"
    )
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    subprocess.run([*control, "start", "-l", folder / "log", "-o", options], check=True, capture_output=True, cwd="/")
    try:
        yield f"postgresql+asyncpg://conduit@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "stop", "-m", "immediate"], check=True, capture_output=True, cwd="/")
        shutil.rmtree(folder)


@pytest.mark.drill
def test_its_own_tests_pass_on_postgresql(postgresql):
    check(CONDUIT_DATABASE_URL=postgresql)


@pytest.mark.slow
def test_a_slice_of_it_inside_an_existing_app():
    done = run("-m", "pytest", "-q", "tests", cwd=ROOT / "examples" / "conduit_mounted", timeout=120)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr
