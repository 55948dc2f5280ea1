"""The RealWorld API, as its own tests see it: on SQLite, and on PostgreSQL with migrations."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import postgresql
from tests.serving import ROOT, run

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
def test_migrations_make_the_tables_of_the_models_in_postgresql_and_its_own_tests_pass_on_them(database):
    alembic("upgrade", "head", CONDUIT_DATABASE_URL=database)
    assert "No new upgrade operations detected" in alembic("check", CONDUIT_DATABASE_URL=database)
    check_own_tests(CONDUIT_DATABASE_URL=database)


@pytest.mark.slow
def test_a_slice_of_it_inside_an_existing_app():
    done = run("-m", "pytest", "-q", "tests", cwd=ROOT / "examples" / "conduit_mounted", timeout=120)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr
