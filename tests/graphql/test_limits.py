"""Limits: aliases and repeated fields, depth through fragments, calls of methods, the document cache."""

import asyncio
import gc
import threading
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, make_dataclass
from functools import reduce
from typing import Any

import httpx
import pytest

from servey import WEB_GET, BatchInvoker, Settings, action
from servey.graphql.execution.documents import Documents
from servey.graphql.execution.limits import LimitExceeded
from servey.graphql.mount import engine_of
from servey.graphql.schema.fields import fields_of
from tests.graphql.graphql_client import app_of, graphql_client

CALLS: list[int] = []


TYPES = [
    make_dataclass(f"T{number}", [(name, int, 0) for name in ("id", "name", f"only{number}")]) for number in range(12)
]
AnyOf: Any = reduce(lambda left, right: left | right, TYPES)


@action(triggers=WEB_GET)
async def things() -> list[AnyOf]:
    return [cls() for cls in TYPES]


@action(triggers=WEB_GET)
async def number(n: int = 0) -> int:
    return n


@action(triggers=WEB_GET)
async def total(ids: list[int]) -> int:
    return sum(ids)


@pytest.fixture(scope="module")
def ask():
    with graphql_client(things, number, total) as opened:
        yield opened


def union_query(fields: str, types: int = 12, before: str = "") -> str:
    return f"{{ things {{ {before} " + " ".join(f"... on T{n} {{ {fields} only{n} }}" for n in range(types)) + " } }"


def test_a_union_of_twelve_types_with_typename_everywhere(ask):
    data = ask.data(union_query("__typename id name", before="__typename"))
    assert [each["__typename"] for each in data["things"]] == [f"T{n}" for n in range(12)]
    named = " ".join(f"...F{n}" for n in range(12))
    fragments = " ".join(f"fragment F{n} on T{n} {{ __typename id name only{n} }}" for n in range(12))
    assert ask.data(f"{{ things {{ __typename {named} }} }} {fragments}") == data


@pytest.mark.parametrize(
    "query",
    [
        "{" + "number " * 32 + "}",
        "{" + "... { number } " * 32 + "}",
        "{" + "... on Query { number } " * 32 + "}",
        "{" + "... on Query { ... { number } } " * 32 + "}",
        "{" + "".join(f"... on X{n} {{ number }} " for n in range(32)) + "}",
        "{" + "__typename " * 32 + "}",
        "{" + "...F " * 32 + "} fragment F on Query { number }",
        "{ things { " + "... on T1 { id } " * 32 + "} }",
        "{ things { " + "... on T1 { ...F } " * 32 + "} } fragment F on T1 { id }",
        "{ things { ...F } } fragment F on T1 { " + "...G " * 32 + "} fragment G on T1 { id }",
        "{" + "".join(f"a{n}: number " for n in range(31)) + "}",
        "{" + "".join(f"a{n}: number " for n in range(16)) + "...F } fragment F on Query {"
        + "".join(f"b{n}: number " for n in range(15)) + "}",
    ],
)  # fmt: skip
def test_repetitions_are_refused(ask, query):
    assert ask.error(query)["code"] == "limit_exceeded"


@pytest.mark.parametrize(
    "query",
    [
        "{" + "number " * 31 + "}",
        "{" + "...F " * 31 + "} fragment F on Query { number }",
        "{" + "".join(f"a{n}: number " for n in range(30)) + "}",
        "{ ...F ...G } fragment F on Query { number } fragment G on Query { number ...H } fragment H on Query { number }",
    ],
)
def test_thirty_repetitions_are_allowed(ask, query):
    assert "errors" not in ask(query)


@dataclass
class Node:
    id: int = 1
    next: "Node | None" = None


def test_depth_counts_through_fragments():
    @action(triggers=WEB_GET)
    async def node() -> Node:
        return Node()

    def chained(levels: int) -> str:
        fragments = [f"fragment F{n} on Node {{ next {{ ...F{n + 1} }} }}" for n in range(levels)]
        return "{ node { ...F0 } } " + " ".join(fragments) + f" fragment F{levels} on Node {{ id }}"

    with graphql_client(node) as ask:
        assert "errors" not in ask(chained(13))  # node, 13 times next, id
        assert ask.error(chained(14))["code"] == "limit_exceeded"
        shared = "{ node { a: next { ...F0 } b: next { next { ...F0 } } } } " + chained(12).partition("} } ")[2]
        assert ask.error(shared)["code"] == "limit_exceeded"


def test_deep_fragments_take_no_exponential_time():
    """Each fragment spreads the next two: 2**60 paths."""
    app = app_of(number)
    engine = engine_of(app.runtime, fields_of(app.runtime))
    pairs = "".join(
        f" fragment F{n} on Query {{ ...F{n + 1} ...G{n + 1} }} fragment G{n} on Query {{ ...F{n + 1} ...G{n + 1} }}"
        for n in range(60)
    )
    begun = time.process_time()
    Documents(engine.schema, Settings()).get(
        "{ ...F0 ...G0 }" + pairs + " fragment F60 on Query { number } fragment G60 on Query { number }"
    )
    assert time.process_time() - begun < 5


def methods(max_nodes: int = 10_000) -> Any:
    @dataclass(frozen=True)
    class Priced:
        id: int

        @action
        async def price(self, currency: str = "EUR") -> int:
            CALLS.append(self.id)
            return self.id

        @action(batch_invoker=BatchInvoker(load))
        async def stock(self) -> int: ...

    @action(triggers=WEB_GET)
    async def priced(n: int) -> list[Priced]:
        return [Priced(number) for number in range(n)]

    return graphql_client(priced, graphql_max_nodes=max_nodes)


async def load(keys: list[Any]) -> list[int]:
    CALLS.extend(key.id for key in keys)
    return [key.id for key in keys]


@pytest.mark.parametrize("field", ["price", "stock"])
def test_calls_of_methods_are_counted(field):
    CALLS.clear()
    with methods(100) as ask:
        assert len(ask.data(f"{{ priced(n: 100) {{ {field} }} }}")["priced"]) == 100
        two = f"{{ priced(n: 50) {{ a: {field} b: {field} }} }}"
        assert "errors" not in ask(two)
        CALLS.clear()
        response = ask(f"{{ priced(n: 51) {{ a: {field} b: {field} }} }}")
        assert response["data"] is None
        assert response["errors"][0]["extensions"]["code"] == "limit_exceeded"
        assert len(CALLS) <= 100


def test_thirty_aliases_of_a_method_on_three_thousand_objects():
    CALLS.clear()
    aliases = " ".join(f'a{n}: price(currency: "{n}")' for n in range(30))
    with methods() as ask:
        assert ask.error(f"{{ priced(n: 3000) {{ {aliases} }} }}")["code"] == "limit_exceeded"
    assert len(CALLS) <= 10_000


async def _ticks_during(app: Any, body: dict[str, Any]) -> tuple[httpx.Response, int]:
    """Send a request; also return how often the event loop ran meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    async with app.running(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        await http.post("/graphql", json={"query": "{ __typename }"})
        ticking = asyncio.create_task(tick())
        before = ticks
        answer = await http.post("/graphql", json=body)
        ticking.cancel()
        return answer, ticks - before


def test_methods_that_never_wait_do_not_block_the_event_loop():
    @dataclass
    class Leaf:
        @action
        async def size(self) -> int:
            end = time.perf_counter() + 0.002  # longer than a slice
            while time.perf_counter() < end:
                pass
            return 1

    @action(triggers=WEB_GET)
    async def leaves() -> list[Leaf]:
        return [Leaf()] * 150

    answer, ticks = asyncio.run(_ticks_during(app_of(leaves), {"query": "{ leaves { size } }"}))
    assert answer.json()["data"]["leaves"] == [{"size": 1}] * 150
    assert ticks >= 100


def test_many_variables_do_not_block_the_event_loop():
    query = {"query": "query($ids: [Int!]!) { total(ids: $ids) }", "variables": {"ids": [1] * 50_000}}
    answer, ticks = asyncio.run(_ticks_during(app_of(total), query))
    assert answer.json() == {"data": {"total": 50_000}}
    assert ticks >= 100


@pytest.mark.parametrize("filler", ["#" + "x" * 100_000, "fragment F on Query { total(ids: " + "1" * 100_000 + ") }"])
def test_long_documents_are_refused_before_they_are_parsed(ask, filler):
    assert ask.error(f"{{ number }}\n{filler}")["code"] == "limit_exceeded"
    assert "errors" not in ask("{ number }\n#" + "x" * 90_000)


def cache_of(app: Any) -> Documents:
    return Documents(engine_of(app.runtime, fields_of(app.runtime)).schema, Settings())


@pytest.mark.slow
def test_the_document_cache_is_bounded_by_tokens():
    cache = cache_of(app_of(total, number))
    cache.get("{ number }")
    assert len(cache._cache) == 1
    for n in range(60):
        cache.get(f"{{ total(ids: [{n} {'1 ' * 1900}]) }}")
    assert 10 <= len(cache._cache) <= 50_000 // 1900
    assert cache._tokens == sum(each.weight for each in cache._cache.values()) <= 50_000
    for n in range(1000):
        cache.get(f"{{ number(n: {n}) }}")
    assert len(cache._cache) == 1000
    assert cache._tokens == sum(each.weight for each in cache._cache.values())
    assert cache.get("{ number(n: 999) }") is cache.get("{ number(n: 999) }")
    before = len(cache._cache)
    cache.get("{ number }" + "#" * 90_000)
    assert len(cache._cache) == before  # one was evicted for it
    with pytest.raises(LimitExceeded):
        cache.get(f"{{ total(ids: [{'1 ' * 2000}]) }}")


@pytest.mark.slow
def test_a_cached_document_takes_as_much_memory_as_its_weight_says():
    cache = cache_of(app_of(total))
    cache.get("{ total(ids: []) }")
    gc.collect()
    tracemalloc.start()
    for n in range(10):
        cache.get(f"{{ total(ids: [{n} {'1 ' * 1900}]) }}")
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / cache._tokens < 600


def test_large_variables_are_read_one_after_the_other_and_only_some_wait():
    app = app_of(total, number)
    query = {"query": "query($ids: [Int!]!) { total(ids: $ids) }", "variables": {"ids": [1] * 30_000}}
    transport = httpx.ASGITransport(app)
    others = set(threading.enumerate())

    async def run() -> Any:
        async with app.runtime.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            await http.post("/graphql", json={"query": "{ number }"})
            asked = asyncio.gather(*(http.post("/graphql", json=query) for _ in range(12)))
            readers = set()
            while not asked.done():
                readers |= {each for each in threading.enumerate() if each.name.startswith("servey graphql")} - others
                await asyncio.sleep(0.001)
            answers = await asked
            again = await http.post("/graphql", json=query)
        return answers, again, readers

    answers, again, readers = asyncio.run(run())
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] >= 8
    assert statuses[503] == 12 - statuses[200] > 0
    assert {answer.json()["code"] for answer in answers if answer.status_code == 503} == {"overloaded"}
    assert again.json() == {"data": {"total": 30_000}}
    assert len(readers) == 1
