"""Which results the server caches, and what a caller gets of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum

import pytest
from pydantic import BaseModel, Field, SecretStr, computed_field
from starlette.responses import PlainTextResponse

from servey import (
    WEB_GET,
    NotFound,
    TtlCacheControl,
    action,
)
from servey.core.errors import ActionTimeout
from tests.caching.results_app import PUBLIC, RUNS, double, running

pytestmark = pytest.mark.anyio


async def test_a_result_is_computed_once(where):
    async with running(double, **where) as call:
        assert [await call(double, n=3) for _ in range(3)] == [6, 6, 6]
        assert call.made_at is not None and abs(call.made_at - time.time()) < 10
        assert RUNS == {(3, 2): 1}


async def test_each_call_has_its_own(where):
    async with running(double, **where) as call:
        for _ in range(2):
            assert await call(double, n=3) == await call(double, n=3, by=2) == await call(double, by=2, n="3") == 6
            assert await call(double, n=3, by=3) == 9
        assert RUNS == {(3, 2): 1, (3, 3): 1}


async def test_it_holds_good_for_its_ttl(where):
    @action(cache_control=TtlCacheControl(0.3, private=False))
    async def brief() -> int:
        RUNS["brief"] += 1
        return RUNS["brief"]

    async with running(brief, **where) as call:
        begun = time.monotonic()
        assert await call(brief) == 1
        while await call(brief) == 1:
            assert time.monotonic() < begun + 5
            await asyncio.sleep(0.01)
        assert time.monotonic() - begun >= 0.29


class Currency(Enum):
    euro = "EUR"


@dataclass
class Price:
    amount: Decimal
    currency: Currency


class Product(BaseModel):
    number: int = Field(alias="productNumber")
    name: str = Field(serialization_alias="title")
    prices: list[Price]
    tags: set[str]
    since: date | datetime | None

    @computed_field
    @property
    def label(self) -> str:
        return f"{self.number} {self.name}"


async def test_a_result_comes_back_as_what_it_was_and_is_everybodys_own(where):
    made = Product(
        productNumber=1,
        name="tea",
        prices=[Price(Decimal("1.50"), Currency.euro)],
        tags={"a", "b"},
        since=date(2026, 6, 1),
    )

    @action(cache_control=PUBLIC)
    async def product() -> Product:
        RUNS["product"] += 1
        return made

    async with running(product, **where) as call:
        first, second, third = await call(product), await call(product), await call(product)
        assert first == second == third == made
        assert isinstance(second.prices[0], Price) and second.prices[0].currency is Currency.euro
        second.prices.clear()
        assert third.prices and (await call(product)).prices
        assert RUNS["product"] == 1


async def test_a_result_that_json_does_not_hold_is_not_kept(where, caplog):
    class Forgetful(BaseModel):
        a: int
        left_out: int = Field(exclude=True)

    @action(cache_control=PUBLIC)
    async def forgetful() -> Forgetful:
        RUNS["forgetful"] += 1
        return Forgetful(a=1, left_out=RUNS["forgetful"])

    async with running(forgetful, **where) as call:
        assert [(await call(forgetful)).left_out for _ in range(3)] == [1, 2, 3]
        found = await asyncio.gather(*(call(forgetful) for _ in range(5)))
        assert sorted(each.left_out for each in found) == [4, 5, 6, 7, 8]
    told = [record.getMessage() for record in caplog.records if "not cached on the server" in record.getMessage()]
    assert len(told) == 1
    assert "action 'forgetful'" in told[0] and told[0].endswith("left_out: Field required")


async def test_errors_are_not_kept(where):
    @action(cache_control=PUBLIC, timeout=0.2)
    async def fails(how: str) -> int:
        RUNS[how] += 1
        if how == "late":
            await asyncio.sleep(30)
        if RUNS[how] < 3:
            raise NotFound() if how == "missing" else RuntimeError("broken")
        return RUNS[how]

    async with running(fails, **where) as call:
        for how, kind in (("missing", NotFound), ("broken", RuntimeError)):
            for _ in range(2):
                with pytest.raises(kind):
                    await call(fails, how=how)
            assert await call(fails, how=how) == await call(fails, how=how) == 3
        for _ in range(2):
            with pytest.raises(ActionTimeout):
                await call(fails, how="late")
        assert RUNS["late"] == 2


async def test_streams_and_whole_responses_are_not_kept():
    @action(cache_control=PUBLIC)
    async def stream() -> AsyncIterator[int]:
        RUNS["stream"] += 1
        yield RUNS["stream"]

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def whole() -> PlainTextResponse:
        RUNS["whole"] += 1
        return PlainTextResponse(str(RUNS["whole"]))

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def either(n: int) -> PlainTextResponse | int:
        RUNS["either"] += 1
        return n if n else PlainTextResponse(str(RUNS["either"]))

    async with running(stream, whole, either) as call:
        assert [await call(stream) for _ in range(2)] == [[1], [2]]
        assert [(await call(whole)).body for _ in range(2)] == [b"1", b"2"]
        found = await asyncio.gather(*(call(either, n=0) for _ in range(3)))
        assert sorted(each.body for each in found) == [b"1", b"2", b"3"]
        assert [await call(either, n=7) for _ in range(3)] == [7, 7, 7]
        assert RUNS["either"] == 4


@pytest.mark.parametrize("control", [TtlCacheControl(60, server=False), None])
async def test_only_what_says_so_is_kept(control):
    @action(cache_control=control)
    async def count() -> int:
        RUNS["count"] += 1
        return RUNS["count"]

    async with running(count) as call:
        assert [await call(count) for _ in range(2)] == [1, 2]
        assert call.made_at is None


async def test_parameters_that_hide_something_are_still_told_apart(where):
    class Query(BaseModel):
        text: str
        account: str = Field(exclude=True)

    @action(cache_control=PUBLIC)
    async def search(query: Query, password: SecretStr) -> str:
        return f"{query.account} {password.get_secret_value()}"

    async with running(search, **where) as call:
        for account, password in (("ada", "x"), ("bob", "x"), ("ada", "y")):
            found = await call(search, query={"text": "t", "account": account}, password=password)
            assert found == f"{account} {password}"
