"""Compiled selections return the same data and errors as graphql-core, for valid and invalid values."""

import asyncio
import datetime as dt
import enum
import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from graphql import parse, validate
from pydantic import BaseModel, ConfigDict

import servey.graphql.execution.completion as completion
from servey import WEB_GET, BatchInvoker, NotFound, action
from servey.compat.graphql import Executor
from servey.core.context import Context
from servey.graphql.execution.completion import CompilingExecutor, is_awaitable
from servey.graphql.execution.concurrency import FinishingExecutor
from servey.graphql.execution.operation import Operation
from servey.graphql.failures import field_failure
from servey.graphql.mount import engine_of
from servey.graphql.schema.fields import fields_of
from tests.graphql.graphql_client import app_of


class Color(enum.Enum):
    red = "r"
    blue = "b"


@dataclass
class Leaf:
    id: str
    v: int
    f: float
    s: str
    b: bool
    c: Color
    d: dt.datetime
    day: dt.date
    price: Decimal
    o: int | None
    n: list[int]
    free: Any


@dataclass
class LeafBelow(Leaf):
    @property
    def extra(self) -> int:
        return 1


def number_of(branch: object) -> int:
    return next((index for index, each in enumerate(STATE["branches"]) if each is branch), 0) + SEED[0]


def weights_of(ids: list[int]) -> list[Any]:
    return [ValueError("too heavy") if each % 7 == 0 else each % 1000 for each in ids]


SEED = [0]


class Branch(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    id: str
    leaf: Leaf
    oleaf: Leaf | None
    leaves: list[Leaf]
    oleaves: list[Leaf | None] | None
    tags: set[str]

    @action
    async def computed(self, x: int = 2) -> int:
        return x * 3

    @action
    async def many(self, x: list[int]) -> list[int]:
        return x

    @action
    async def fails(self) -> int:
        if number_of(self) % 3 == 0:
            raise NotFound("no such branch")
        return number_of(self)

    @action
    async def may_fail(self, late: bool = False) -> str | None:
        if late:
            await asyncio.sleep(0)
        if number_of(self) % 2:
            raise ValueError("boom")
        return None if number_of(self) % 5 == 0 else "text"

    @action
    async def own_leaf(self) -> Leaf | None:
        return getattr(self, "leaf", None)

    @action
    async def twin(self) -> "Branch":
        return self

    @action(batch_invoker=BatchInvoker(lambda branches: weights_of(branches), arg_extractor=lambda each: [id(each)]))
    async def weight(self) -> int: ...

    @action(batch_invoker=BatchInvoker(lambda branches: branches))
    async def same(self) -> "Branch": ...


class Other(BaseModel):
    id: str


STATE: dict[str, list[Any]] = {"branches": []}


@action(triggers=WEB_GET)
def branches() -> list[Branch]: ...


@action(triggers=WEB_GET)
def some_branches() -> list[Branch | None] | None: ...


@action(triggers=WEB_GET)
def mixed() -> list[Leaf | Other]: ...


LEAF = "id v f s b c d day price o n free"
DOCUMENTS = [
    f"{{ branches {{ id tags leaf {{ {LEAF} }} }} }}",
    f"{{ someBranches {{ id leaf {{ {LEAF} }} oleaf {{ v o }} leaves {{ v c d }} oleaves {{ id f }} }} }}",
    "{ branches { x: id __typename leaf { a: v v } } }",
    "{ branches { ...F leaf { ... on Leaf { v } } } } fragment F on Branch { id oleaf { s } }",
    "query($a: Boolean!) { branches { id leaf { v @skip(if: $a) s } } }",
    "{ branches { id computed leaf { v } } }",
    "{ branches { computed(x: 5) } }",
    "{ branches { id computed tags leaf { v d } } }",
    "{ someBranches { double: computed(x: 2) __typename leaves { v s } computed id } }",
    "{ mixed { ... on Leaf { v d } ... on Other { id } } branches { computed oleaf { c v } oleaves { id } } }",
    "{ mixed { __typename ... on Leaf { v d } ... on Other { id } } }",
    "{ branches { leaves { d s } } someBranches { leaf { c } } }",
    "{ someBranches { leaf { v } leaf { s } } }",
]
METHODS = [
    "{ branches { id computed(x: 3) again: computed } }",
    "{ branches { id fails } }",
    "{ someBranches { id mayFail fails } }",
    "{ someBranches { fails weight mayFail(late: true) } }",
    "{ branches { ownLeaf { v s d } id } }",
    "{ branches { twin { id computed weight twin { fails } } weight same { id weight mayFail } } }",
    "{ someBranches { weight same { same { weight tags } } computed } }",
    "query($x: Int!) { branches { mayFail computed(x: $x) many(x: [$x, 2]) } }",
    "query($x: Int!) { branches { id twin { ...F } } } fragment F on Branch { computed(x: $x) leaf { v } weight }",
    "query($a: Boolean!) { branches { id computed @skip(if: $a) weight } }",
]
BAD = [
    None,
    "x",
    5,
    2**40,
    1.5,
    float("nan"),
    True,
    [],
    ValueError("boom"),
    {},
    "7",
    dt.date(2020, 1, 1),
    Color.red,
    b"x",
]


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def leaf(self, badness: float) -> Leaf:
        pick = self.random.choice
        values: dict[str, Any] = {
            "id": pick(["a", "b"]), "v": self.random.randint(-5, 5), "f": pick([1.5, 2.0, 0.1]), "s": "é\n", "b": True,
            "c": pick(list(Color)), "d": dt.datetime(2020, 1, 2, 3, 4, 5, pick([0, 123]), tzinfo=pick([None, dt.UTC])),
            "day": dt.date(2020, 1, 2), "price": Decimal("1.50"), "o": pick([None, 3]), "n": [1, 2], "free": {"a": [1]},
        }  # fmt: skip
        if self.random.random() < badness:
            values[pick(list(values))] = pick(BAD)
        made = (LeafBelow if self.random.random() < badness / 3 else Leaf)(**values)
        if self.random.random() < badness / 5:
            delattr(made, pick(list(values)))
        return made

    def branch(self, badness: float) -> Branch:
        pick = self.random.choice
        values: dict[str, Any] = {
            "id": "1", "leaf": self.leaf(badness), "oleaf": pick([None, self.leaf(badness)]),
            "leaves": [self.leaf(badness) for _ in range(3)], "tags": {"t"},
            "oleaves": pick([None, [None, self.leaf(badness)], [self.leaf(badness)]]),
        }  # fmt: skip
        if self.random.random() < badness / 2:
            values[pick(list(values))] = pick(BAD)
        return Branch.model_construct(**values)


class Counted(CompilingExecutor):
    """An executor that counts compiled completions and fallbacks."""

    compiled = 0
    redone = 0

    def plan(self, type_, details):
        selection = super().plan(type_, details)
        if selection is None:
            return None

        def counted(value, operation):
            try:
                made = selection.complete(value, operation)
            except Exception:
                Counted.redone += 1
                raise
            Counted.compiled += 1
            return made

        return replace(selection, complete=counted)


class Finishing(FinishingExecutor):
    plans: Any


class Stock(Executor):  # type: ignore[type-arg]
    plans: Any


async def answer(executor_class, schema, document, variables, context) -> tuple[str, list[str], int]:
    operation = Operation(context.another(), {}, None, 10**9)  # type: ignore[arg-type]
    executor = executor_class.build(schema, document, None, operation, variables, is_awaitable=is_awaitable)
    executor.plans = PLANS.setdefault(id(document), {})
    result = executor.execute_operation()
    if is_awaitable(result):
        result = await result
    errors = sorted(repr(field_failure(error, context.runtime, "r")) for error in result.errors or [])
    return repr(result.data), errors, operation.nodes


PLANS: dict[int, Any] = {}


async def compare(executions: int, seed: int) -> None:
    runtime = app_of(branches, some_branches, mixed).runtime
    schema = engine_of(runtime, fields_of(runtime)).schema
    values = {
        "branches": lambda: STATE["branches"],
        "someBranches": lambda: [*STATE["branches"], None],
        "mixed": lambda: [getattr(branch, "leaf", None) for branch in STATE["branches"]] + [Other(id="o")],
    }
    for name, value in values.items():
        schema.query_type.fields[name].resolve = lambda source, info, value=value: value()
    documents = [(text, parse(text)) for text in [*DOCUMENTS, *METHODS]]
    for _, document in documents:
        assert validate(schema, document) == []
    maker = Maker(seed)
    context = Context(runtime, "graphql", request_id="r")
    for number in range(executions):
        if number % 13 == 0:
            badness = maker.random.choice([0, 0.02, 0.2, 0.6])
            STATE["branches"] = [maker.branch(badness) for _ in range(3)]
        text, document = documents[number % len(documents)]
        variables = {"a": maker.random.random() < 0.5} if "$a" in text else {"x": 7} if "$x" in text else {}
        SEED[0] = number
        # Which errors of an object's methods count depends on whether their siblings finish.
        generic = Finishing if text in METHODS else Stock
        stock = await answer(generic, schema, document, variables, context)
        ours = await answer(Counted, schema, document, variables, context)
        assert ours[:2] == stock[:2], text


@pytest.mark.anyio
async def test_compiled_and_generic_results_are_equal(caplog):
    caplog.set_level("CRITICAL", "servey")
    Counted.compiled = Counted.redone = 0
    await compare(400, seed=1)
    assert Counted.compiled > 500
    assert Counted.redone > 50


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(240)
async def test_over_six_thousand_executions(caplog):
    caplog.set_level("CRITICAL", "servey")
    Counted.compiled = Counted.redone = 0
    await compare(6000, seed=2)
    assert Counted.compiled > 8000
    assert Counted.redone > 1000


@pytest.mark.anyio
async def test_a_broken_compiler_is_detected(monkeypatch, caplog):
    caplog.set_level("CRITICAL", "servey")
    PLANS.clear()
    monkeypatch.setitem(completion._EXACT, "String", "True")
    with pytest.raises(AssertionError):
        await compare(400, seed=1)
    PLANS.clear()


def test_node_counts_are_equal(monkeypatch):
    """Compiled and generic completion count the same number of objects."""
    from tests.graphql.graphql_client import graphql_client

    @dataclass
    class Point:
        x: int

    @dataclass
    class Line:
        start: Point
        end: Point | None
        points: list[Point]

    @action(triggers=WEB_GET)
    def lines() -> list[Line] | None:
        return [Line(Point(1), Point(2), [Point(3)] * 3) for _ in range(10)]

    query = "{ lines { start { x } end { x } points { x } } }"
    for limit, fits in ((60, True), (59, False)):
        for compiled in (True, False):
            with monkeypatch.context() as patch:
                if not compiled:
                    patch.setattr(CompilingExecutor, "plan", lambda *_: None)
                with graphql_client(lines, graphql_max_nodes=limit) as ask:
                    assert ("errors" not in ask(query)) is fits
