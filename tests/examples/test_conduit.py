"""The RealWorld API, as its own tests and its clients see it: on SQLite and PostgreSQL, however it is served."""

import os
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.aws.tools import python_of
from tests.examples.lambda_door import deployed
from tests.examples.realworld import (
    check_api,
    check_collection,
    check_events,
    check_graphql_and_page,
    check_notifications,
)
from tests.postgres import postgresql
from tests.serving import ROOT, free_port, launched, redis_server, run, serve, wait_until

CONDUIT = ROOT / "examples" / "conduit"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as url:
        yield url


def check_own_tests(**environment: str) -> None:
    done = run("-m", "pytest", "-q", "tests", cwd=CONDUIT, timeout=120, **environment)
    assert (done.returncode, "7 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def alembic(*words: str, cwd: Path = CONDUIT, **environment: str) -> str:
    done = run("-m", "alembic", *words, cwd=cwd, timeout=60, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_own_tests_pass():
    check_own_tests()


@pytest.mark.slow
def test_migrations_make_the_tables_of_the_models_in_sqlite(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/conduit.db"
    alembic("upgrade", "head", CONDUIT_DATABASE_URL=url)
    assert "No new upgrade operations detected" in alembic("check", CONDUIT_DATABASE_URL=url)
    alembic("downgrade", "base", CONDUIT_DATABASE_URL=url)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_migrations_make_the_tables_of_the_models_in_postgresql_and_its_own_tests_pass_on_them(database):
    alembic("upgrade", "head", CONDUIT_DATABASE_URL=database)
    assert "No new upgrade operations detected" in alembic("check", CONDUIT_DATABASE_URL=database)
    check_own_tests(CONDUIT_DATABASE_URL=database)


def settings(url: str) -> dict[str, str]:
    return {"CONDUIT_DATABASE_URL": url, "SERVEY_JWT_SECRET_KEY": "a-secret-of-at-least-32-bytes-for-tests"}


@contextmanager
def by_uvicorn(url: str) -> Iterator[str]:
    with serve("app:servey_app", cwd=CONDUIT, **settings(url)) as server:
        yield server.url


@contextmanager
def in_a_host(url: str) -> Iterator[str]:
    with serve("tests.examples.conduit_in_host:api", cwd=CONDUIT, **settings(url)) as server:
        yield server.url


@contextmanager
def with_processes(url: str) -> Iterator[str]:
    """Two server processes, and a worker beside them."""
    port = free_port()
    with redis_server() as redis:
        more = {**settings(url), "SERVEY_REDIS_URL": redis.url, "SERVEY_DRAIN": "0"}
        words = ["-m", "servey", "run", "--workers", "2", "--port", str(port)]
        with (
            launched(words, port, cwd=CONDUIT, **more) as server,
            launched(["-m", "servey", "worker"], cwd=CONDUIT, **more),
        ):
            wait_until(lambda: is_ready(server.url), "the start of two processes", within=60)
            yield server.url


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def in_lambda(url: str) -> Iterator[str]:
    packages = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    more = {**settings(url), "PYTHONPATH": f"{CONDUIT}{os.pathsep}{packages}", "SERVEY_ENV": "dev"}
    with deployed(python_of("lambda_runtime"), CONDUIT, "servey.aws.handler", **more) as server:
        yield server


WAYS: tuple[Callable[[str], AbstractContextManager[str]], ...] = (by_uvicorn, in_a_host, with_processes, in_lambda)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_client_sees_the_same_api(way, tmp_path):
    with way(f"sqlite+aiosqlite:///{tmp_path}/conduit.db") as server:
        check_api(f"{server}/api")
        check_notifications(f"{server}/api")
        check_graphql_and_page(server)
        if way is not in_lambda:  # its websockets are another service of AWS
            check_events(server)


@pytest.mark.drill
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_collection_of_the_realworld_project_passes(way, kind, tmp_path, request):
    url = f"sqlite+aiosqlite:///{tmp_path}/conduit.db"
    if kind == "postgresql":
        url = request.getfixturevalue("database")
        alembic("upgrade", "head", CONDUIT_DATABASE_URL=url)
    with way(url) as server:
        check_collection(f"{server}/api", tmp_path)


@pytest.mark.slow
def test_a_slice_of_it_inside_an_existing_app():
    done = run("-m", "pytest", "-q", "tests", cwd=ROOT / "examples" / "conduit_mounted", timeout=120)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr
