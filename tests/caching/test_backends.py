"""The backends of the cache: bounded, replaceable, optional."""

import pytest

from servey import (
    ConfigError,
    TtlCacheControl,
    action,
    invalidate,
)
from servey.caching.memory_backend import MemoryBackend
from servey.runtime.parts import Parts
from tests.caching.results_app import RUNS, double, running

pytestmark = pytest.mark.anyio


async def test_memory_is_bounded_in_entries_and_bytes():
    now = [0.0]
    backend = MemoryBackend(max_entries=3, max_bytes=1000, clock=lambda: now[0])
    for n in range(5):
        await backend.set(f"{n}", b"x")
    assert [await backend.get(f"{n}") for n in range(5)] == [None, None, b"x", b"x", b"x"]
    await backend.get("2")
    await backend.set("5", b"x")  # the one that was asked for longest ago goes
    assert [await backend.get(each) for each in "2345"] == [b"x", None, b"x", b"x"]
    await backend.set("large", b"x" * 996)
    assert await backend.get("large") is None
    assert backend.size == (3, 6)
    await backend.set("a", b"x" * 900)
    await backend.set("b", b"x" * 900)
    assert backend.size == (1, 901)
    await backend.set("c", b"y", 10)
    assert await backend.get_with_ttl("c") == (10, b"y")
    now[0] = 10.0
    assert (await backend.get_with_ttl("c"), await backend.get_with_ttl("b")) == ((0, None), (-1, b"x" * 900))
    await backend.set("n:1", b"", 5)
    await backend.set("n:2", b"", 5)
    assert (await backend.clear("n"), await backend.clear(key="b"), await backend.clear(key="b")) == (2, 1, 0)
    assert backend.size == (0, 0)


async def test_the_settings_bound_it():
    async with running(double, cache_max_entries=5) as call:
        for n in range(20):
            await call(double, n=n)
        assert call.app.runtime.cache.backend.size[0] <= 5
        await call(double, n=19)
        assert RUNS[19, 2] == 1
    async with running(double, cache_max_bytes=0) as call:
        assert [await call(double, n=77) for _ in range(2)] == [154, 154]
        assert RUNS[77, 2] == 2


async def test_everything_that_is_kept_ends(where):
    @action(cache_control=TtlCacheControl(30))
    async def one() -> int:
        return 1

    async with running(one, **where) as call:
        await call(one)
        await invalidate(one)
        await call(one)
        backend = call.app.runtime.cache.backend
        if where:
            keys = [key async for key in backend.client.scan_iter(match=f"*{where['cache_prefix']}:*")]
            assert len(keys) == 2
            assert all(0 < left <= 30 + 15 + 60 for left in [await backend.client.ttl(key) for key in keys])
            prefix = call.app.runtime.settings.redis_prefix + where["cache_prefix"]
            assert await backend.clear(prefix) == 2
        else:
            assert backend.size[0] == 2


async def test_a_backend_of_ones_own():
    store: dict[str, bytes] = {}

    class Mine:
        async def get(self, key: str) -> bytes | None:
            return store.get(key)

        async def set(self, key: str, value: bytes, expire: float | None = None) -> None:
            store[key] = value

    async with running(double, parts=Parts(cache=lambda _: Mine())) as call:
        assert [await call(double, n=2) for _ in range(2)] == [4, 4]
        assert (len(store), RUNS[2, 2]) == (1, 1)
        for key in store:
            store[key] = b"garbage"
        assert await call(double, n=2) == 4
        for key in store:
            store[key] = store[key].replace(b"\n4", b'\n"no number"')  # another version of the app has kept it
        assert await call(double, n=2) == 4
        assert RUNS[2, 2] == 3


async def test_without_its_library(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "servey.caching.memory_backend", None)
    with pytest.raises(ConfigError, match="caching results on the server: import of"):
        async with running(double):
            pass
