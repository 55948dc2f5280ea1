"""What all tests share."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx

from tests.serving import RedisServer, Server, redis_server, serve


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    """A test fails when code of ours blocks the event loop."""
    with blockbuster_ctx(scanned_modules=["servey"]) as guard:
        for function in guard.functions.values():
            function.can_block_in("servey/app.py", "__init__")  # an app may be made where a loop runs
        yield


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
