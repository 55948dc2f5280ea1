"""GraphQL: batched fields."""

import asyncio
from dataclasses import dataclass

import anyio
import pytest

from servey import (
    WEB_GET,
    Authorization,
    BatchInvoker,
    ScopeAccessControl,
    action,
)
from servey.core.context import current_context
from tests.graphql.fields_app import ADA, BOB, CALLS
from tests.graphql.graphql_client import app_of, graphql_client


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


async def prices_of(keys: list[int]) -> list[object]:
    CALLS.append((current_context().authorization.subject_id if current_context().token else None, list(keys)))
    await asyncio.sleep(0)
    return [ValueError("no price") if key < 0 else f"{key}.00" for key in keys]


@dataclass
class Product:
    id: int

    @action(batch_invoker=BatchInvoker(prices_of, max_batch_size=100, arg_extractor=lambda product: [product.id]))
    async def price(self) -> str | None:
        raise AssertionError("the batch is called")

    @action(
        batch_invoker=BatchInvoker(prices_of, arg_extractor=lambda product: [product.id]),
        access_control=ScopeAccessControl("root"),
    )
    async def cost(self) -> str | None:
        raise AssertionError("the batch is called")


@dataclass
class Shelf:
    products: list[Product]


@action(triggers=WEB_GET)
async def products(ids: list[int]) -> list[Product]:
    return [Product(each) for each in ids]


@action(triggers=WEB_GET)
async def shelves(size: int, count: int) -> list[Shelf]:
    return [Shelf([Product(shelf * size + each) for each in range(size)]) for shelf in range(count)]


def test_a_thousand_parents_are_loaded_in_chunks():
    with graphql_client(products, shelves) as ask:
        found = ask.data("query($ids: [Int!]!) { products(ids: $ids) { price } }", {"ids": list(range(100, 1100))})
        assert [each["price"] for each in found["products"]] == [f"{number}.00" for number in range(100, 1100)]
        assert [keys for _, keys in CALLS] == [list(range(start, start + 100)) for start in range(100, 1100, 100)]
        CALLS.clear()
        ask.data("{ shelves(size: 50, count: 20) { products { price } } }")
    assert len(CALLS) == 10


def test_equal_keys_are_loaded_once_in_order_of_first_use():
    with graphql_client(products) as ask:
        found = ask.data("{ products(ids: [5, 3, 5, 4, 3]) { price } }")
    assert [each["price"] for each in found["products"]] == ["5.00", "3.00", "5.00", "4.00", "3.00"]
    assert CALLS == [(None, [5, 3, 4])]


def test_one_failed_item_fails_only_itself(caplog):
    with graphql_client(products) as ask:
        answer = ask("{ products(ids: [1, -1, 2]) { price } }")
    assert answer["data"]["products"] == [{"price": "1.00"}, {"price": None}, {"price": "2.00"}]
    assert [(each["path"], each["extensions"]["code"]) for each in answer["errors"]] == [
        (["products", 1, "price"], "internal")
    ]


def test_the_access_rule_runs_before_the_batch():
    with graphql_client(products) as ask:
        query = "{ products(ids: [1, 2]) { cost } }"
        assert ask.error(query)["code"] == "unauthenticated"
        assert ask.error(query, caller=ADA)["code"] == "forbidden"
        assert CALLS == []
        assert ask.data(query, caller=BOB) == {"products": [{"cost": "1.00"}, {"cost": "2.00"}]}
    assert CALLS == [("bob", [1, 2])]


def test_parents_without_an_extractor_are_keys_themselves_even_unhashable_ones():
    def sizes(keys: list["Basket"]) -> list[int]:
        CALLS.append(len(keys))
        return [len(key.items) for key in keys]

    @dataclass
    class Basket:
        items: list[str]

        @action(batch_invoker=BatchInvoker(sizes))
        def size(self) -> int: ...

    @action(triggers=WEB_GET)
    def baskets() -> list[Basket]:
        return [Basket(["a"]), Basket([]), Basket(["a"])]

    with graphql_client(baskets) as ask:
        assert ask.data("{ baskets { size } }") == {"baskets": [{"size": 1}, {"size": 0}, {"size": 1}]}
    assert CALLS == [2]


def test_a_batch_of_the_wrong_length_fails_and_one_over_time_too():
    async def short(keys: list[int]) -> list[int]:
        return [1]

    async def slow(keys: list[int]) -> list[int]:
        await asyncio.sleep(30)
        return keys

    @dataclass
    class Thing:
        id: int

        @action(batch_invoker=BatchInvoker(short, arg_extractor=lambda thing: [thing.id]))
        async def wrong(self) -> int | None: ...

        @action(timeout=0.05, batch_invoker=BatchInvoker(slow, arg_extractor=lambda thing: [thing.id]))
        async def late(self) -> int | None: ...

    @action(triggers=WEB_GET)
    def things() -> list[Thing]:
        return [Thing(1), Thing(2)]

    with graphql_client(things) as ask:
        wrong, late = ask("{ things { wrong } }"), ask("{ things { late } }")
    assert [each["extensions"]["code"] for each in wrong["errors"]] == ["internal"] * 2
    assert [each["extensions"]["code"] for each in late["errors"]] == ["timeout"] * 2


def test_batches_of_two_callers_are_separate():
    """Two callers' requests run concurrently; each batch has the keys of one caller only."""
    import httpx2

    from servey.testing import token_for

    app = app_of(products)
    query = "query($ids: [Int!]!) { products(ids: $ids) { cost } }"

    async def ask(http, caller: Authorization, ids: list[int]) -> None:
        headers = {"Authorization": f"Bearer {token_for(app, caller)}"}
        for _ in range(10):
            answer = await http.post("/graphql", json={"query": query, "variables": {"ids": ids}}, headers=headers)
            found = answer.json()["data"]["products"]
            assert [each["cost"] for each in found] == [f"{number}.00" for number in ids]

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with app.runtime.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            async with anyio.create_task_group() as group:
                for number in range(4):
                    caller = Authorization(f"user{number}", frozenset({"root"}))
                    group.start_soon(ask, http, caller, list(range(number * 100, number * 100 + 5)))

    anyio.run(main)
    assert len(CALLS) == 40
    for subject, keys in CALLS:  # type: ignore[misc]
        assert subject == f"user{keys[0] // 100}"
        assert {key // 100 for key in keys} == {keys[0] // 100}
