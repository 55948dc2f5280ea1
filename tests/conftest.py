"""Fixtures and hooks of all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from tests.serving import CommandLine, RedisServer, Server, redis_server, serve


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the skipped tests, each with its reason, to the file that dev.py prints after everything else."""
    path = os.environ.get("SKIPPED_TESTS_FILE")
    skipped = terminalreporter.stats.get("skipped", [])
    if path and skipped:
        lines = [f"{each.nodeid} ({each.longrepr[2]})" for each in skipped]
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    """A test fails when code of ours blocks the event loop."""
    with blockbuster_ctx(scanned_modules=["servey"]) as guard:
        for function in guard.functions.values():
            function.can_block_in("servey/app.py", "__init__")  # an app may be made where a loop runs
            function.can_block_in("servey/core/settings/sources.py", "project_name")  # and so may settings
            function.can_block_in("coverage/collector.py", {"lock_data", "unlock_data"})  # coverage's own lock
        yield


@pytest.fixture(autouse=True)
def _every_key_expires(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a key in the shared Redis for ever."""
    server = request.getfixturevalue("redis") if "redis" in request.fixturenames else None
    yield
    if isinstance(server, RedisServer):
        server.check_keys()


@pytest.fixture(scope="session")
def tour() -> Iterator[Server]:
    """The tour, served by a real server in a process of its own."""
    with serve("servey.server:discovered_app", factory=True, cwd="examples/tour") as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis for tests that leave it running; those that stop it make one of their own."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    """Run `servey WORDS` in any folder."""
    processes = CommandLine()
    yield processes
    processes.close()
