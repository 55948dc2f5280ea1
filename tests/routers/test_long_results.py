"""Long lists are validated and serialized in slices: the bytes and the errors are those of the whole list, and other tasks
run in between."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends
from pydantic import BaseModel, Field, TypeAdapter, field_validator
from typing_extensions import TypedDict

from servey import WEB_GET, Settings, action, create_app

pytestmark = pytest.mark.anyio

COUNT = 5001


class Reading(BaseModel):
    id: int
    place: str = Field(serialization_alias="at")
    celsius: float | None = None


class Plain(BaseModel):
    id: int
    name: str
    since: datetime


@dataclass
class Point:
    x: int
    y: float


class Row(TypedDict):
    id: int
    tags: list[str]


class Checked(BaseModel):
    id: int

    @field_validator("id")
    @classmethod
    def is_small(cls, value: int) -> int:
        assert value < COUNT
        return value


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6)
CASES: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "dicts": (list[Reading], lambda n: {"id": str(n), "place": f"place {n}", "celsius": n / 7}),
    "models": (list[Reading], lambda n: Reading(id=n, place="é")),
    "both": (list[Reading], lambda n: {"id": n, "place": "a"} if n % 2 else Reading(id=n, place="b")),
    "plain": (list[Plain], lambda n: Plain(id=n, name="n", since=MOMENT)),
    "plain_dict_at_the_end": (
        list[Plain],
        lambda n: {"id": n, "name": "n", "since": MOMENT} if n > COUNT - 3 else Plain(id=n, name="n", since=MOMENT),
    ),
    "points": (list[Point], lambda n: Point(n, n)),
    "rows": (list[Row] | None, lambda n: {"id": n, "tags": ["a", "b"]}),
    "numbers": (list[int], lambda n: n),
    "anything": (list[Any], lambda n: [n, "x", None]),
    "limited": (Annotated[list[int], Field(min_length=COUNT)], lambda n: n),
    "checked": (list[Checked], lambda n: {"id": n}),
}


def app_of(name: str, returns: Any, result: Any) -> Any:
    async def long() -> Any:
        return result

    long.__annotations__["return"] = returns
    long.__name__ = name
    return create_app(actions=[action(triggers=WEB_GET)(long)], settings=Settings(env="dev"))


async def get(app: Any, name: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False)) as client:
        return await client.get(f"http://test/actions/{name}", headers=headers)


@pytest.mark.parametrize("name", CASES)
async def test_the_bytes_are_those_of_the_whole_list(name):
    returns, make = CASES[name]
    items = [make(number) for number in range(COUNT)]
    adapter = TypeAdapter(returns)
    expected = adapter.dump_json(adapter.validate_python(items), by_alias=True)
    app = app_of(name, returns, items)
    async with app.router.lifespan_context(app):
        for headers in ({}, {}, {"prefer": "handling=lenient"}):  # the last one is for the generic form
            answer = await get(app, name.replace("_", "-"), **headers)
            assert answer.status_code == 200
            assert answer.content == expected


async def turns_during(app: Any, name: str, **headers: str) -> int:
    """Count how often another task runs until a response is there."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    # Not compressed, which would be done in a thread, while the counting goes on.
    answer = await get(app, name, **{"accept-encoding": "identity"}, **headers)
    counting.cancel()
    assert answer.status_code == 200
    return turns


@pytest.mark.parametrize("name", ["dicts", "models", "plain"])
@pytest.mark.parametrize("headers", [{}, {"prefer": "handling=lenient"}])
async def test_other_tasks_run_in_between(name, headers):
    returns, make = CASES[name]
    app = app_of(name, returns, [make(number) for number in range(20_000)])
    few = app_of(name, returns, [make(1)])
    async with app.router.lifespan_context(app):
        assert await turns_during(app, name, **headers) >= await turns_during(few, name, **headers) + 10


@pytest.mark.parametrize("headers", [{}, {"prefer": "handling=lenient"}])
async def test_an_invalid_item_has_its_place_in_the_whole_list(headers, caplog):
    items: list[Any] = [{"id": number, "place": "a"} for number in range(COUNT)]
    items[4321] = {"id": "x", "place": "a"}
    app = app_of("wrong", list[Reading], items)
    async with app.router.lifespan_context(app):
        with caplog.at_level(logging.ERROR):
            answer = await get(app, "wrong", **headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "4321.id: Input should be a valid integer" in caplog.text


async def test_a_list_that_changes_meanwhile_is_answered_whole():
    items: list[Any] = [{"id": number, "place": "a"} for number in range(COUNT)]
    app = app_of("changing", list[Reading], items)

    async def clear() -> None:
        while items:
            del items[-100:]
            await asyncio.sleep(0)

    async with app.router.lifespan_context(app):
        answering = asyncio.create_task(get(app, "changing"))
        while not app.runtime.in_flight.count:
            await asyncio.sleep(0)
        await clear()
        answer = await answering
    assert [each["id"] for each in answer.json()] == list(range(COUNT))


async def nothing() -> None: ...


@pytest.mark.parametrize("headers", [{}, {"prefer": "handling=lenient"}])
@pytest.mark.parametrize("kind", ["dependency", "plain"])
async def test_a_function_that_ended_in_time_is_answered_also_if_its_result_takes_longer(kind, headers):
    items = [{"id": number, "place": "a"} for number in range(20_000)]

    async def with_dependency(needed: Annotated[None, Depends(nothing)]) -> list[Reading]:
        return items

    def plain() -> list[Reading]:
        return items

    fn: Any = with_dependency if kind == "dependency" else plain
    made = action(triggers=WEB_GET, name="late", timeout=0.005, blocking=kind == "dependency")(fn)
    app = create_app(actions=[made], settings=Settings(env="dev"))
    async with app.router.lifespan_context(app):
        assert (await get(app, "late", **headers)).status_code == 200
