"""Actions as fields: called as on every other way in, nested ones when they are selected, batched ones together."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import anyio
import pytest
from fastapi import BackgroundTasks, Depends, Header, HTTPException, Request, Response

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    BatchInvoker,
    ConfigError,
    Context,
    NotFound,
    ScopeAccessControl,
    WebTrigger,
    WebTriggerMethod,
    action,
)
from servey.cli.main import run as run_command
from servey.context import current_context
from tests.graphql.asking import app_of, asking

ADA = Authorization("ada", frozenset({"read"}))
BOB = Authorization("bob", frozenset({"read", "root"}))
CALLS: list[object] = []


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


async def session() -> AsyncIterator[str]:
    CALLS.append("open")
    yield "session"
    CALLS.append("close")


@dataclass
class Stats:
    value: int

    @action
    async def factorial(self) -> int:
        """All of them multiplied."""
        CALLS.append(f"factorial {self.value}")
        return 1 if self.value < 2 else self.value * (await Stats(self.value - 1).factorial())

    @action
    def divisors(self, limit: int = 3, log: str = "-") -> list["Stats"]:
        return [Stats(number) for number in range(1, self.value + 1) if self.value % number == 0][:limit]

    @action
    async def stored(self, session: Annotated[str, Depends(session)]) -> str:
        CALLS.append(f"stored {self.value}")
        return session

    @action(access_control=ScopeAccessControl("root"))
    async def secret(self) -> str | None:
        return f"secret {self.value}"

    @action(timeout=0.05)
    async def slow(self) -> str | None:
        await asyncio.sleep(30)
        return None


@action(triggers=WEB_GET)
def stats(value: int) -> Stats:
    return Stats(value)


@action(triggers=WEB_GET)
def many(count: int) -> list[Stats]:
    return [Stats(number) for number in range(count)]


def test_nested_actions_run_only_when_they_are_selected():
    with asking(stats) as ask:
        assert ask.data("{ stats(value: 3) { value } }") == {"stats": {"value": 3}}
        assert CALLS == []
        assert ask.data("{ stats(value: 3) { factorial } }") == {"stats": {"factorial": 6}}
    assert CALLS == ["factorial 3", "factorial 2", "factorial 1"]


def test_nested_actions_take_arguments_and_nest_further():
    with asking(stats) as ask:
        query = "{ stats(value: 6) { divisors(limit: 2) { value factorial } all: divisors { value } } }"
        assert ask.data(query)["stats"] == {
            "divisors": [{"value": 1, "factorial": 1}, {"value": 2, "factorial": 2}],
            "all": [{"value": 1}, {"value": 2}, {"value": 3}],
        }
        assert ask.error("{ stats(value: 6) { divisors(limit: 99999999999) { value } } }")["code"] == "invalid_document"


def test_each_call_has_dependencies_of_its_own_which_close_after_the_answer():
    with asking(many) as ask:
        assert ask.data("{ many(count: 2) { stored } }") == {"many": [{"stored": "session"}] * 2}
    assert sorted(CALLS[:4]) == ["open", "open", "stored 0", "stored 1"]  # type: ignore[type-var]
    assert CALLS[4:] == ["close", "close"]


def test_nested_access_control():
    with asking(many) as ask:
        query = "{ many(count: 2) { value secret } }"
        anonymous = ask(query)
        assert anonymous["data"] == {"many": [{"value": 0, "secret": None}, {"value": 1, "secret": None}]}
        assert [error["extensions"]["code"] for error in anonymous["errors"]] == ["unauthenticated"] * 2
        assert [error["path"] for error in anonymous["errors"]] == [["many", 0, "secret"], ["many", 1, "secret"]]
        assert ask.error(query, caller=ADA)["code"] == "forbidden"
        assert ask.data(query, caller=BOB)["many"][1] == {"value": 1, "secret": "secret 1"}
        assert ask.error(query, authorization="Bearer bad")["code"] == "unauthenticated"
        assert "errors" not in ask("{ many(count: 1) { value } }", authorization="Bearer bad")


def test_nested_timeout():
    with asking(stats) as ask:
        error = ask.error("{ stats(value: 1) { value slow } }")
    assert (error["code"], error["path"], error["data"]) == (
        "timeout",
        ["stats", "slow"],
        {"stats": {"value": 1, "slow": None}},
    )


def test_errors_have_the_codes_of_rest(caplog):
    @action(triggers=WEB_POST)
    def fail(how: str) -> str | None:
        raise {
            "missing": NotFound("no such"),
            "own": ActionError(418, "teapot", "short and stout"),
            "http": HTTPException(402, "pay first"),
            "odd": RuntimeError("db://user:pw@host"),
        }[how]

    with asking(fail) as ask:
        caplog.set_level(logging.ERROR)
        found = {
            how: ask.error("mutation($h: String!) { f: fail(how: $h) }", {"h": how})
            for how in ("missing", "own", "http")
        }
        assert {how: (each["code"], each["message"], each["path"]) for how, each in found.items()} == {
            "missing": ("not_found", "no such", ["f"]),
            "own": ("teapot", "short and stout", ["f"]),
            "http": ("http_402", "pay first", ["f"]),
        }
        assert not [record for record in caplog.records if record.exc_info]
        caplog.clear()
        odd = ask('mutation { fail(how: "odd") }')
    assert odd["errors"][0]["extensions"]["code"] == "internal"
    assert "pw" not in str(odd)
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert caplog.records[0].request_id == ask.last.headers["x-request-id"]  # type: ignore[attr-defined]


def test_what_fastapi_injects_is_the_requests_own():
    @action(triggers=WEB_GET)
    async def seen(
        request: Request,
        response: Response,
        background: BackgroundTasks,
        x_color: Annotated[str, Header()] = "none",
        context: Context = None,  # type: ignore[assignment]
    ) -> str:
        response.headers["x-made"] = "yes"
        background.add_task(CALLS.append, "after")
        return f"{request.method} {x_color} {context.via}"

    with asking(seen) as ask:
        assert ask.data("{ seen }", **{"x-color": "red"}) == {"seen": "POST red graphql"}
        assert ask.last.headers["x-made"] == "yes"
    assert CALLS == ["after"]


def test_concurrent_fields_have_contexts_of_their_own():
    @action(triggers=WEB_GET)
    async def mine(number: int) -> bool:
        before = current_context()
        await asyncio.sleep(0.01)
        return current_context() is before and before.request_id != "" and before.deadline is not None

    with asking(mine) as ask:
        asked = " ".join(f"a{number}: mine(number: {number})" for number in range(20))
        assert set(ask.data("{" + asked + "}").values()) == {True}


def test_queries_run_at_once_and_mutations_in_order():
    running: list[int] = []

    @action(triggers=(WEB_GET, WEB_POST))
    async def step(number: int) -> int:
        running.append(number)
        most = len(running)
        await asyncio.sleep(0.01)
        running.remove(number)
        return most

    with asking(step) as ask:
        asked = "{ a: step(number: 1) b: step(number: 2) c: step(number: 3) }"
        assert max(ask.data(asked).values()) == 3
        assert ask.data(f"mutation {asked}") == {"a": 1, "b": 1, "c": 1}


def test_plain_functions_do_not_block_each_other():
    meet = threading.Barrier(2, timeout=5)

    @action(triggers=WEB_GET)
    def wait_for_the_other(number: int) -> int:
        return meet.wait()

    with asking(wait_for_the_other) as ask:
        answer = ask.data("{ a: waitForTheOther(number: 1) b: waitForTheOther(number: 2) }")
    assert sorted(answer.values()) == [0, 1]


# ------------------------------------------------------------------------------------------------------- batches


async def prices_of(keys: list[int]) -> list[object]:
    CALLS.append((current_context().authorization.subject_id if current_context().token else None, list(keys)))
    await asyncio.sleep(0)
    return [ValueError("no price") if key < 0 else f"{key}.00" for key in keys]


@dataclass
class Product:
    id: int

    @action(batch_invoker=BatchInvoker(prices_of, max_batch_size=100, arg_extractor=lambda product: [product.id]))
    async def price(self) -> str | None:
        raise AssertionError("the batch is asked")

    @action(
        batch_invoker=BatchInvoker(prices_of, arg_extractor=lambda product: [product.id]),
        access_control=ScopeAccessControl("root"),
    )
    async def cost(self) -> str | None:
        raise AssertionError("the batch is asked")


@dataclass
class Shelf:
    products: list[Product]


@action(triggers=WEB_GET)
async def products(ids: list[int]) -> list[Product]:
    return [Product(each) for each in ids]


@action(triggers=WEB_GET)
async def shelves(size: int, count: int) -> list[Shelf]:
    return [Shelf([Product(shelf * size + each) for each in range(size)]) for shelf in range(count)]


def test_a_thousand_parents_are_asked_for_in_chunks():
    with asking(products, shelves) as ask:
        found = ask.data("query($ids: [Int!]!) { products(ids: $ids) { price } }", {"ids": list(range(100, 1100))})
        assert [each["price"] for each in found["products"]] == [f"{number}.00" for number in range(100, 1100)]
        assert [keys for _, keys in CALLS] == [list(range(start, start + 100)) for start in range(100, 1100, 100)]
        CALLS.clear()
        ask.data("{ shelves(size: 50, count: 20) { products { price } } }")
    assert len(CALLS) == 10


def test_equal_keys_are_asked_for_once_in_the_order_of_their_first_sight():
    with asking(products) as ask:
        found = ask.data("{ products(ids: [5, 3, 5, 4, 3]) { price } }")
    assert [each["price"] for each in found["products"]] == ["5.00", "3.00", "5.00", "4.00", "3.00"]
    assert CALLS == [(None, [5, 3, 4])]


def test_one_failed_item_fails_only_itself(caplog):
    with asking(products) as ask:
        answer = ask("{ products(ids: [1, -1, 2]) { price } }")
    assert answer["data"]["products"] == [{"price": "1.00"}, {"price": None}, {"price": "2.00"}]
    assert [(each["path"], each["extensions"]["code"]) for each in answer["errors"]] == [
        (["products", 1, "price"], "internal")
    ]


def test_the_access_rule_stands_before_the_batch():
    with asking(products) as ask:
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

    with asking(baskets) as ask:
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

    with asking(things) as ask:
        wrong, late = ask("{ things { wrong } }"), ask("{ things { late } }")
    assert [each["extensions"]["code"] for each in wrong["errors"]] == ["internal"] * 2
    assert [each["extensions"]["code"] for each in late["errors"]] == ["timeout"] * 2


def test_two_callers_batches_never_mix():
    """Requests of two callers run at once; each batch holds the keys and the caller of one of them."""
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


# ---------------------------------------------------------------------------------------- what is no field, and why


def test_servey_actions_says_where_an_action_is_and_where_json_stands(tmp_path, monkeypatch, capsys):
    (tmp_path / "actions.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Annotated\n"
        "from fastapi import UploadFile, Response\n"
        "from servey import WEB_GET, WEB_POST, action\n\n\n"
        "@dataclass\nclass Stats:\n    value: int\n    extra: dict[str, int]\n\n"
        "    @action\n    def twice(self) -> int:\n        return self.value * 2\n\n\n"
        "@action(triggers=WEB_GET)\ndef stats() -> Stats:\n    return Stats(1, {})\n\n\n"
        "@action(triggers=WEB_POST)\ndef search(query: int | str) -> int:\n    return 1\n\n\n"
        "@action(triggers=WEB_POST)\ndef upload(file: UploadFile) -> int:\n    return 1\n\n\n"
        "@action(triggers=WEB_GET)\ndef page() -> Response:\n    return Response()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "actions", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit):
        run_command(["actions"])
    shown = capsys.readouterr().out
    for line in (
        "GraphQL query stats",
        "GraphQL field Stats.twice",
        "(GraphQL: Stats.extra is JSON, since a dict has no fields that are known before)",
        "GraphQL mutation search",
        "(GraphQL: parameter 'query' is JSON, since GraphQL has no unions as input)",
        "(not in GraphQL: it needs the body's part 'file')",
        "(not in GraphQL: it answers with a whole response of its own)",
    ):
        assert line in shown


def test_a_batched_action_with_a_parameter_of_its_own_stops_the_start():
    @dataclass
    class Odd:
        id: int

        @action(batch_invoker=BatchInvoker(lambda keys: keys))
        def rated(self, by: str) -> int: ...

    @action(triggers=WEB_GET)
    def odd() -> Odd:
        return Odd(1)

    with pytest.raises(ConfigError, match="parameter 'by' a batch can not take it"):
        app_of(odd)


def test_methods_of_http_decide_between_query_and_mutation():
    found = {}
    for method in WebTriggerMethod:

        @action(name=f"by_{method.value.lower()}", triggers=WebTrigger(method))
        def act() -> str:
            return "x"

        found[method.value] = app_of(act).runtime
    from servey.graphql.fields import fields_of

    kinds = {method: next(iter(fields_of(runtime).places.values()))[0].split()[0] for method, runtime in found.items()}
    assert kinds == {method: "query" if method in ("GET", "HEAD", "OPTIONS") else "mutation" for method in kinds}
