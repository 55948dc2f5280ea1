"""Where results are cached."""

import random
from typing import Any

import pytest

from tests.caching.results_app import RUNS


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RUNS.clear()


@pytest.fixture(params=["memory", "Redis"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of an app that keeps results there, under keys of its own."""
    if request.param == "memory":
        return {}
    return {"redis_url": request.getfixturevalue("redis").url, "cache_prefix": f"test-{random.random()}"}
