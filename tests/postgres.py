"""A real PostgreSQL for tests: a server of its own on a free port, in a folder that is removed at the end."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import free_port

USER = "conduit"


def programs() -> Path | None:
    """Return the folder with `initdb` and `pg_ctl`, or None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: float(each.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a server on loopback and yield the URL of its empty database; skip the test where there is none."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    home = Path(tempfile.mkdtemp(prefix="postgresql-"))
    as_user = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["runuser", "-u", "nobody", "--"]
        shutil.chown(home, "nobody")

    def control(*words: object) -> None:
        command = [*as_user, str(folder / "pg_ctl"), "-w", "-D", str(home / "data"), *map(str, words)]
        log = home / "log"
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        said = log.read_text(encoding="utf-8") if log.exists() else ""
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}\n{said}"

    try:
        control(
            "init", "-o", f"--auth=trust --username={USER} --no-sync --no-instructions --encoding=UTF8 --locale=C.UTF-8"
        )
        port = free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        control("start", "-l", home / "log", "-o", options)
        try:
            yield f"postgresql+asyncpg://{USER}@127.0.0.1:{port}/postgres"
        finally:
            control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(home)
