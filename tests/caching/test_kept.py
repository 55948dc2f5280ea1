"""Responses of cached results that are kept as bytes: the same as without, for as long as the result is valid."""

import itertools
from typing import Any

import pytest
from pydantic import BaseModel, computed_field

from servey import WEB_GET, WEB_POST, Authorization, Settings, TtlCacheControl, action, create_app, invalidate
from servey.caching import results
from servey.caching.kept import Kept, KeptResults
from servey.caching.memory_backend import MemoryBackend
from servey.runtime.parts import Parts
from servey.testing import client, token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
COUNT = itertools.count()
GENERIC = {"Prefer": "handling=lenient"}


class Item(BaseModel):
    name: str
    price: float
    run: int


class Stamped(BaseModel):
    name: str

    @computed_field
    def shown(self) -> int:
        return next(COUNT)


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False), tags=("items",))
async def items(name: str, number: int = 3) -> list[Item]:
    run = next(COUNT)
    return [Item(name=name, price=0.5, run=run) for _ in range(number)]


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def mine(authorization: Authorization | None) -> str:
    return f"{authorization.subject_id if authorization else 'nobody'} {next(COUNT)}"


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def stamped(name: str) -> Stamped:
    return Stamped(name=name)


@action(triggers=WEB_POST)
async def forget(name: str) -> None:
    await invalidate(items, name=name)


def app_with(parts: Parts | None = None, **settings: Any) -> Any:
    chosen = Settings(env="dev", jwt_secret_key=SECRET, **settings)
    return create_app(actions=[items, mine, stamped, forget], settings=chosen, parts=parts)


@pytest.fixture(params=["memory", "Redis"])
def app(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return app_with()
    return app_with(redis_url=request.getfixturevalue("redis").url, cache_prefix=f"kept-{next(COUNT)}")


def shown(response: Any) -> tuple[Any, ...]:
    """A response without what differs from one request or second to the next."""
    changing = ("x-request-id", "expires", "cache-control")
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in changing]
    return response.status_code, response.content, headers, response.headers["cache-control"].split("max-age")[0]


ASKED: list[dict[str, str]] = [
    {},
    {"If-None-Match": '"another"'},
    {"If-None-Match": "*"},
    {"If-Match": '"another"'},
    {"If-Modified-Since": "Fri, 01 May 2026 08:30:00 GMT"},
    {"Accept-Encoding": "identity"},
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("number", [0, 3, 400])
def test_a_kept_response_is_that_of_the_generic_form(app: Any, asked: dict[str, str], number: int) -> None:
    with client(app) as http:
        address = f"/actions/items?name=a&number={number}"
        for _ in range(3):
            http.get(address)
        assert shown(http.get(address, headers=asked)) == shown(http.get(address, headers={**asked, **GENERIC}))
        etag = http.get(address, headers={"Accept-Encoding": "identity"}).headers["etag"]
        current = {"If-None-Match": etag, "Accept-Encoding": "identity"}
        assert http.get(address, headers=current).status_code == 304
        assert shown(http.get(address, headers=current)) == shown(http.get(address, headers={**current, **GENERIC}))


def test_a_hit_decodes_and_encodes_nothing(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(app) as http:
        first, second = (http.get("/actions/items?name=a") for _ in range(2))

        def fail(*given: Any) -> Any:
            raise AssertionError("a kept response was decoded")

        monkeypatch.setattr(results, "_value", fail)
        monkeypatch.setattr(results, "call_key", fail)
        third = http.get("/actions/items?name=a")
        assert first.content == second.content == third.content


def test_an_invalidation_ends_it(app: Any) -> None:
    with client(app) as http:
        for _ in range(3):
            one = http.get("/actions/items?name=a&number=1").json()
        http.post("/actions/forget", json={"name": "b"}).raise_for_status()
        assert http.get("/actions/items?name=a&number=1").json() == one
        invalidate(items)
        assert http.get("/actions/items?name=a&number=1").json() != one


def test_it_expires_with_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    with client(app_with()) as http:
        for _ in range(3):
            one = http.get("/actions/items?name=a").json()
        monkeypatch.setattr(results.Results, "is_fresh", lambda self, made_at, ttl: False)
        kept = http.get("/actions/items?name=a")
        assert kept.json() == one  # the backend's entry itself has not expired
        monkeypatch.undo()
        assert http.get("/actions/items?name=a").json() == one


def test_each_caller_has_its_own(app: Any) -> None:
    with client(app) as http:
        headers = [{"Authorization": f"Bearer {token_for(app, Authorization(name))}"} for name in ("ada", "bob")]
        answers = [[http.get("/actions/mine", headers=each).json() for each in (*headers, {})] for _ in range(4)]
        assert answers[0] == answers[1] == answers[2] == answers[3]
        assert [each.split()[0] for each in answers[0]] == ["ada", "bob", "nobody"]
        assert http.get("/actions/mine", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_an_authorizer_that_changes_its_mind_is_asked_every_time() -> None:
    app = app_with()
    with client(app) as http:
        headers = {"Authorization": f"Bearer {token_for(app, Authorization('ada'))}"}
        for _ in range(3):
            assert http.get("/actions/mine", headers=headers).json().startswith("ada")

        async def authorize(token: str) -> Authorization:
            return Authorization("bob")

        app.runtime.authorizer.authorize = authorize
        assert http.get("/actions/mine", headers=headers).json().startswith("bob")


def test_code_of_the_project_runs_for_each_response(app: Any) -> None:
    with client(app) as http:
        answers = [http.get("/actions/stamped?name=a").json()["shown"] for _ in range(4)]
        assert len(set(answers)) == 4


def test_a_backend_of_ones_own_is_asked_every_time() -> None:
    class Counting(MemoryBackend):
        asked = 0

        async def get(self, key: str) -> bytes | None:
            Counting.asked += 1
            return await super().get(key)

    with client(app_with(Parts(cache=lambda settings: Counting(10, 10_000)))) as http:
        for _ in range(3):
            http.get("/actions/items?name=a")
        before = Counting.asked
        http.get("/actions/items?name=a")
        assert Counting.asked > before


def test_a_patched_backend_is_asked_too() -> None:
    backend = MemoryBackend(10, 10_000)
    with client(app_with(Parts(cache=lambda settings: backend))) as http:
        first = [http.get("/actions/items?name=a").json() for _ in range(3)][-1]

        async def get(key: str) -> None:
            return None

        backend.get = get  # type: ignore[method-assign]
        assert http.get("/actions/items?name=a").json() != first


def test_a_long_query_string_is_not_kept() -> None:
    app = app_with()
    with client(app) as http:
        for length, count in ((5000, 0), (10, 1)):
            first, *others = [http.get(f"/actions/items?name=a&unknown={'x' * length}").json() for _ in range(3)]
            assert others == [first, first]
            assert http.portal is not None
            assert http.portal.call(lambda: len(app.runtime.cache.kept)) == count


def test_what_is_kept_is_bounded() -> None:
    kept = KeptResults(max_entries=2, max_bytes=100)
    for name in "abc":
        kept.add(name, Kept((), (b"x" * 10,), 0.0, None, b"y" * 20, b""))
    assert [kept.get(name) is not None for name in "abc"] == [False, True, True]
    kept.add("large", Kept((), (b"x" * 100,), 0.0, None, b"y", b""))
    assert kept.get("large") is None
    kept.add("d", Kept((), (b"x" * 70,), 0.0, None, b"y" * 20, b""))
    assert [kept.get(name) is not None for name in "bcd"] == [False, False, True]
