"""The Conduit example beside the same app by hand: both do the same, and the docs say how long each is."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import lines
from tests.examples.realworld import (
    check_api,
    check_collection,
    check_events,
    check_graphql_and_page,
    check_notifications,
)
from tests.serving import ROOT, launched, redis_server, serve

CONDUIT = ROOT / "examples" / "conduit"


def settings(folder: object) -> dict[str, str]:
    return {
        "CONDUIT_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/conduit.db",
        "JWT_SECRET_KEY": "a-secret-of-at-least-32-bytes-for-tests",
    }


@pytest.mark.slow
def test_the_rest_api_in_plain_fastapi(tmp_path):
    with serve("benchmarks.peers.conduit_fastapi.app:app", cwd=CONDUIT, **settings(tmp_path)) as server:
        check_api(f"{server.url}/api")


@contextmanager
def by_hand(more: dict[str, str]) -> Iterator[str]:
    with redis_server() as redis:
        more = {**more, "REDIS_URL": redis.url}
        worker = ["-m", "arq", "benchmarks.peers.conduit_by_hand.jobs.WorkerSettings"]
        with (
            serve("benchmarks.peers.conduit_by_hand.app:app", cwd=CONDUIT, **more) as server,
            launched(worker, cwd=CONDUIT, **more),
        ):
            yield server.url
        redis.command("FLUSHALL")  # its stream never expires


@pytest.mark.slow
def test_the_whole_app_with_strawberry_and_arq(tmp_path):
    with by_hand(settings(tmp_path)) as server:
        check_api(f"{server}/api")
        check_notifications(f"{server}/api")
        check_graphql_and_page(server)
        check_events(server, "{ slug }")


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_the_collection_of_the_realworld_project_passes(tmp_path):
    with serve("benchmarks.peers.conduit_fastapi.app:app", cwd=CONDUIT, **settings(tmp_path)) as server:
        check_collection(f"{server.url}/api", tmp_path)
    with by_hand(settings(tmp_path)) as server:
        check_collection(f"{server}/api", tmp_path)


def test_the_readme_says_how_long_each_is():
    readme = (CONDUIT / "README.md").read_text(encoding="utf-8")
    assert lines.table() in readme, f"write this table into the README:\n{lines.table()}"


def test_the_example_is_shorter():
    assert lines.lines_of(lines.REST) < lines.lines_of(lines.REST_BY_HAND)
    assert lines.lines_of(lines.WHOLE) < 0.7 * lines.lines_of(lines.BATCHES_BY_HAND + lines.OPERATIONS)


def test_only_code_counts():
    module = (
        '"""A module."""\n\n# a comment\nx = """a\nb"""  # another\n\n\ndef f():\n    """A function."""\n    return x\n'
    )
    assert lines.code_lines(module) == 4
