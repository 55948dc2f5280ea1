"""Fields of one operation that run together: a failing one does not cancel the others, and SERVEY_GRAPHQL_CONCURRENCY."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, HTTPException

from servey import WEB_GET, BatchInvoker, NotFound, action
from tests.graphql.graphql_client import app_of

pytestmark = pytest.mark.anyio

EVENTS: list[str] = []


class Session:
    """A connection that must not be used by two calls at once, and that breaks if a call is cancelled."""

    def __init__(self) -> None:
        self.is_busy = False

    async def execute(self, value: Any) -> Any:
        assert not self.is_busy, "another call uses this session"
        self.is_busy = True
        EVENTS.append(f"begin {value}")
        try:
            for _ in range(100):
                await asyncio.sleep(0)
            EVENTS.append(f"end {value}")
        except asyncio.CancelledError:
            EVENTS.append(f"broken {value}")
            raise
        finally:
            self.is_busy = False
        return value


async def session() -> AsyncIterator[Session]:
    opened = Session()
    EVENTS.append("open")
    try:
        yield opened
    finally:
        assert not opened.is_busy
        EVENTS.append("close")


Db = Annotated[Session, Depends(session)]


async def nobody() -> str:
    raise HTTPException(401, "Unauthorized")


@dataclass
class Row:
    id: int

    @action
    async def detail(self, db: Db) -> int:
        await db.execute(f"detail {self.id}")
        return self.id

    @action
    async def fails(self, db: Db) -> int:
        if self.id == 0:
            raise NotFound("no such row")
        await db.execute(f"fails {self.id}")
        return self.id

    @action(batch_invoker=BatchInvoker(lambda rows: batch(rows)))
    async def batched(self) -> int: ...


SHARED = Session()


async def batch(rows: list[Row]) -> list[Any]:
    for row in rows:
        await SHARED.execute(f"batch {row.id}")
    return [row.id for row in rows]


@action(triggers=WEB_GET)
async def one(db: Db) -> int:
    return await db.execute(1)


@action(triggers=WEB_GET)
async def two(db: Db) -> int:
    return await db.execute(2)


@action(triggers=WEB_GET)
async def me(user: Annotated[str, Depends(nobody)]) -> str:
    return user


@action(triggers=WEB_GET)
async def late() -> str:
    await asyncio.sleep(0)
    raise NotFound("gone")


@action(triggers=WEB_GET)
async def rows(count: int) -> list[Row]:
    return [Row(number) for number in range(count)]


SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


@dataclass
class Cell:
    id: int

    @action
    async def own_context(self) -> str:
        """Return what another call left in the context."""
        before = SEEN.get()
        SEEN.set(f"cell {self.id}")
        if self.id % 3 == 0:
            await asyncio.sleep(0)
        return f"{before}, then {SEEN.get()}"

    @action
    async def impatient(self) -> str:
        """Wait longer than allowed in every third cell; the others never wait."""
        if self.id % 3:
            return "at once"
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out"
        return "never"

    @action
    async def meets(self) -> int:
        """Wait until all 30 cells are here, which only ends if all of them run at once."""
        await PARTIES[-1].wait()
        return self.id


PARTIES: list[asyncio.Barrier] = []


@action(triggers=WEB_GET)
async def cells(count: int) -> list[Cell]:
    return [Cell(number) for number in range(count)]


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    EVENTS.clear()
    app = app_of(one, two, me, late, rows, cells, **settings)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            yield app, http


async def ask(http: httpx.AsyncClient, query: str) -> Any:
    response = (await http.post("/graphql", json={"query": query})).json()
    codes = [each["extensions"]["code"] for each in response.get("errors", [])]
    return response["data"], codes


@pytest.mark.parametrize(
    ("query", "code", "calls"),
    [
        ("{ me one two }", "http_401", 2),
        ("{ one me two }", "http_401", 2),
        ("{ one two late }", "not_found", 2),
        ("{ me rows(count: 2) { detail } }", "http_401", 2),
        ("{ rows(count: 4) { fails } }", "not_found", 3),
        ("{ rows(count: 4) { detail fails } }", "not_found", 7),
    ],
)
async def test_siblings_of_a_failed_field_finish(query, code, calls):
    """Before the response: nothing of an operation runs on after it."""
    async with opened() as (_, http):
        assert await ask(http, query) == (None, [code])
        assert not [each for each in EVENTS if each.startswith("broken")]
        assert len([each for each in EVENTS if each.startswith("begin")]) == calls
        assert len([each for each in EVENTS if each.startswith("end")]) == calls
        assert EVENTS.count("open") == EVENTS.count("close")


async def test_a_cancelled_request_closes_its_dependencies():
    async with opened() as (app, _):
        body = b'{"query": "{ one two rows(count: 3) { detail batched } }"}'
        left = asyncio.Event()
        begun = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not begun.is_set():
                begun.set()
                return {"type": "http.request", "body": body, "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            raise AssertionError("there is no response")

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": "/graphql", "raw_path": b"/graphql", "query_string": b"", "scheme": "http",
            "headers": headers, "server": ("x", 80), "client": ("1", 1), "root_path": "", "http_version": "1.1",
            "state": {}, "extensions": {}, "asgi": {"version": "3.0"},
        }  # fmt: skip
        task = asyncio.create_task(app(scope, receive, send))
        while "begin 1" not in EVENTS:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert EVENTS.count("open") == EVENTS.count("close") >= 1
        seen = list(EVENTS)
        for _ in range(50):
            await asyncio.sleep(0)
        assert seen == EVENTS


@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("{ one two a: one b: two }", {"one": 1, "two": 2, "a": 1, "b": 2}),
        (
            "{ one rows(count: 2) { id detail } two }",
            {"one": 1, "two": 2, "rows": [{"id": 0, "detail": 0}, {"id": 1, "detail": 1}]},
        ),
        ("{ me one two }", None),
    ],
)
async def test_one_session_is_shared_with_a_concurrency_of_one(query, data):
    async with opened(graphql_concurrency=1) as (app, http):
        shared = Session()
        app.dependency_overrides[session] = lambda: shared
        got, codes = await ask(http, query)
        if data is None:
            assert (got, codes) == (None, ["http_401"])
        else:
            assert got == data
        assert await shared.execute("free") == "free"
        begun = [each.partition(" ")[2] for each in EVENTS if each.startswith("begin")]
        ended = [each.partition(" ")[2] for each in EVENTS if each.startswith("end")]
        assert begun == ended


RUNNING = [0, 0]


@action(triggers=WEB_GET)
async def tracked(number: int) -> int:
    RUNNING[0] += 1
    RUNNING[1] = max(RUNNING)
    await asyncio.sleep(0.002)
    RUNNING[0] -= 1
    return number


@pytest.mark.parametrize(("concurrency", "most"), [(None, 12), (1, 1), (3, 3), (100, 12)])
async def test_the_setting_limits_how_many_fields_run_at_once(concurrency, most):
    RUNNING[:] = [0, 0]
    app = app_of(tracked, graphql_concurrency=concurrency)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            fields = " ".join(f"a{number}: tracked(number: {number})" for number in range(12))
            data, codes = await ask(http, f"{{ {fields} }}")
    assert codes == []
    assert data == {f"a{number}": number for number in range(12)}
    assert RUNNING == [0, most]


async def test_batches_and_nested_fields_with_a_concurrency_of_one():
    """Neither waits for a place that its own parent holds."""
    SHARED.is_busy = False
    async with opened(graphql_concurrency=1) as (_, http), asyncio.timeout(10):
        data, codes = await ask(http, "{ a: rows(count: 3) { id batched } b: rows(count: 2) { id batched } }")
    assert codes == []
    assert data == {
        "a": [{"id": number, "batched": number} for number in range(3)],
        "b": [{"id": number, "batched": number} for number in range(2)],
    }


async def test_a_method_never_sees_the_context_of_another():
    async with opened() as (_, http):
        data, _ = await ask(http, "{ cells(count: 40) { id ownContext } }")
    assert [each["ownContext"] for each in data["cells"]] == [f"nothing, then cell {n}" for n in range(40)]


async def test_a_timeout_inside_a_method_is_its_own():
    async with opened() as (_, http):
        data, _ = await ask(http, "{ cells(count: 30) { impatient id } }")
    assert [each["impatient"] for each in data["cells"]] == ["timed out", "at once", "at once"] * 10


async def test_methods_that_wait_run_at_once():
    PARTIES.append(asyncio.Barrier(30))
    async with asyncio.timeout(20), opened() as (_, http):
        data, _ = await ask(http, "{ cells(count: 30) { meets } }")
    assert [each["meets"] for each in data["cells"]] == [*range(30)]


async def test_many_methods_wait_at_once_also_in_eager_tasks():
    PARTIES.append(asyncio.Barrier(600))
    async with asyncio.timeout(20), opened() as (_, http):
        # Python 3.12 and newer have it.
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))
        try:
            data, _ = await ask(http, "{ cells(count: 600) { meets } }")
        finally:
            asyncio.get_running_loop().set_task_factory(None)
    assert sorted(each["meets"] for each in data["cells"]) == [*range(600)]


async def test_a_response_keeps_the_order_of_its_selection():
    async with opened() as (_, http):
        data, _ = await ask(http, "{ cells(count: 2) { impatient id __typename ownContext again: id } }")
    for each in data["cells"]:
        assert list(each) == ["impatient", "id", "__typename", "ownContext", "again"]
