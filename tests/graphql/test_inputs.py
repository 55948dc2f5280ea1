"""GraphQL inputs contain what the client sent, and nothing else: the same as REST's JSON bodies."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from servey import WEB_POST, action
from tests.graphql.graphql_client import graphql_client, schema_of

T = TypeVar("T")


class Color(Enum):
    red = "r"
    blue = "b"


class Leaf(BaseModel):
    id: int = 7
    name: str | None = None
    color: Color = Color.red
    big: int = 2**40
    ratio: float = float("inf")


class Slot(BaseModel, Generic[T]):
    value: T
    note: str = "none"


class Options(TypedDict, total=False):
    size: int
    leaf: Leaf


@dataclass
class Shelf:
    leaf: Leaf
    tags: list[str] = field(default_factory=lambda: ["new"])
    count: int = 3


class Patch(BaseModel):
    id: int
    name: str | None = None
    leaf: Leaf = Leaf()
    leaves: list[Leaf] = []
    grid: list[list[Leaf]] | None = None
    options: Options = {}
    shelf: Shelf | None = None
    slot: Slot[Leaf] | None = None
    either: Leaf | list[int] | None = None
    strict: Annotated[int, Field(gt=10)] = 0


def what_was_sent(value: Any) -> Any:
    """Describe a validated value: for models, only the fields that are set."""
    if isinstance(value, BaseModel):
        return {name: what_was_sent(getattr(value, name)) for name in sorted(value.model_fields_set)}
    if isinstance(value, Shelf):
        return {"leaf": what_was_sent(value.leaf), "tags": value.tags, "count": value.count}
    if isinstance(value, dict):
        return {name: what_was_sent(item) for name, item in value.items()}
    if isinstance(value, list):
        return [what_was_sent(item) for item in value]
    return value.value if isinstance(value, Enum) else value


@action(triggers=WEB_POST)
async def patch(p: Patch, extra: Patch | None = None, strict: Annotated[int, Field(gt=10)] = 0) -> dict[str, Any]:
    return {"p": what_was_sent(p), "extra": what_was_sent(extra), "strict": strict}


INPUTS = [
    {"id": 1},
    {"id": 1, "name": None},
    {"id": 1, "name": "n", "leaf": {}},
    {"id": 1, "leaf": {"id": 7, "color": "blue"}},
    {"id": 1, "leaves": [{}, {"name": None}, {"id": 7}]},
    {"id": 1, "grid": [[{}], [], [{"id": 1}, {"big": 5}]]},
    {"id": 1, "options": {}},
    {"id": 1, "options": {"leaf": {"name": "x"}}},
    {"id": 1, "shelf": {"leaf": {}}},
    {"id": 1, "shelf": {"leaf": {"id": 2}, "tags": [], "count": 3}},
    {"id": 1, "slot": {"value": {}}},
    {"id": 1, "slot": {"value": {"name": None}, "note": "none"}},
    {"id": 1, "either": {"id": 5}},
    {"id": 1, "either": [1, 2]},
    {"id": 1, "strict": 11},
]


def literal(value: Any) -> str:
    """Return a JSON value as a GraphQL literal; strings named like a color are enum values."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if value is None:
        return "null"
    return value if value in Color.__members__ else f'"{value}"' if isinstance(value, str) else str(value)


def for_rest(value: Any) -> Any:
    """Replace enum names by values."""
    if isinstance(value, dict):
        return {name: for_rest(item) for name, item in value.items()}
    if isinstance(value, list):
        return [for_rest(item) for item in value]
    return Color[value].value if isinstance(value, str) and value in Color.__members__ else value


@pytest.fixture(scope="module")
def ask():
    with graphql_client(patch, find, search) as opened:
        yield opened


@action(triggers=WEB_POST)
async def find(leaf: Leaf = Leaf(), leaves: list[Leaf] = [Leaf()], limit: int = 5) -> dict[str, Any]:  # noqa: B006, B008
    return {"leaf": what_was_sent(leaf), "leaves": what_was_sent(leaves), "limit": limit}


@action(triggers=WEB_POST)
async def search(query: dict[str, Any]) -> dict[str, Any]:
    return query


@pytest.mark.parametrize("given", INPUTS)
def test_the_same_fields_are_set_as_on_rest(ask, given):
    rest = ask.http.post("/actions/patch", json={"p": for_rest(given), "extra": for_rest(given)}).json()
    variables = ask.data("mutation($p: PatchInput!) { patch(p: $p, extra: $p) }", {"p": given})["patch"]
    literals = ask.data(f"mutation {{ patch(p: {literal(given)}, extra: {literal(given)}) }}")["patch"]
    assert variables == literals == rest


def test_arguments_have_the_functions_defaults(ask):
    rest = ask.http.post("/actions/find", json={}).json()
    assert ask.data("mutation { find }")["find"] == rest == {"leaf": {}, "leaves": [{}], "limit": 5}


def test_missing_variables_are_not_sent(ask):
    query = """mutation($name: String, $leaf: LeafInput, $id: Int = 9, $more: PatchInput) {
        patch(p: {id: $id, name: $name, leaf: $leaf, slot: {value: {name: $name}}}, extra: $more)
    }"""
    assert ask.data(query)["patch"] == {"p": {"id": 9, "slot": {"value": {}}}, "extra": None, "strict": 0}
    sent = ask.data(query, {"name": None, "leaf": {"id": 1}})["patch"]["p"]
    assert sent == {"id": 9, "name": None, "leaf": {"id": 1}, "slot": {"value": {"name": None}}}


def test_missing_variables_in_json_literals(ask):
    query = "mutation($a: Int, $b: JSON) { search(query: {a: $a, in: {a: $a, b: $b}, list: [1, $a, {a: $a}]}) }"
    assert ask.data(query)["search"] == {"in": {}, "list": [1, None, {}]}
    assert ask.data(query, {"a": 2, "b": None})["search"] == {
        "a": 2,
        "in": {"a": 2, "b": None},
        "list": [1, 2, {"a": 2}],
    }


def test_only_sent_values_are_validated(ask):
    """A default may break its own constraint; the same value from a client may not."""
    for arguments in ("p: {id: 1, strict: 0}", "p: {id: 1}, strict: 0"):
        error = ask.error(f"mutation {{ patch({arguments}) }}")
        assert error["code"] == "invalid_params"
        assert error["extensions"]["detail"][0]["type"] == "greater_than"


def test_defaults_are_still_in_the_schema():
    text = schema_of(patch, find)
    for line in ("id: Int! = 7", "color: Color! = red", "note: String! = \"none\"", "count: Int! = 3", "find(leaf: LeafInput, leaves: [LeafInput!], limit: Int! = 5)", "big: Int\n", "ratio: Float\n"):  # fmt: skip
        assert line in text
