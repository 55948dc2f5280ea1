"""The cluster that all drills share; the proxy in front of it."""

from collections.abc import Iterator

import pytest

from tests.cluster.engine import Cluster, require_engine
from tests.cluster.front import Front, running_front
from tests.serving import free_port


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_engine()
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.compose("build", "-q", "web")
    try:
        made.compose("up", "-d", "--no-build", "--wait")
        yield made
    finally:
        made.compose("down", "-v")


@pytest.fixture(scope="session")
def front(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The proxy that terminates TLS, on both entrances."""
    folder = tmp_path_factory.mktemp("front")
    with running_front(folder, free_port(), list(cluster.ports.values())) as running:
        yield running
