"""GraphQL types: scalars, the users' classes, defaults, constraints."""

import dataclasses
import datetime as dt
import enum
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pytest
from pydantic import AnyUrl, BaseModel, Field

from servey import WEB_GET, WEB_POST, action
from servey.graphql import BigInt
from tests.graphql.graphql_client import app_of, graphql_client, schema_of
from tests.routers.test_types import TYPES, Color, Level, Line, Person, Point


def echo(type_):
    @action(triggers=WEB_POST)
    async def echo(value: type_) -> type_:  # type: ignore[valid-type]
        return value

    return echo


@pytest.mark.parametrize(("type_", "value", "in_query"), TYPES, ids=lambda value: getattr(value, "__name__", None))
def test_no_type_stops_the_server(type_, value, in_query):
    sdl = schema_of(echo(type_))
    assert "type Mutation" in sdl


LEAVES = [
    (str, "häé ☃"),
    (int, 7),
    (float, 1.5),
    (bool, True),
    (bytes, "raw"),
    (Decimal, "12.340"),
    (dt.date, "2026-02-28"),
    (dt.datetime, "2026-02-28T12:00:00Z"),
    (dt.datetime, "2026-02-28T12:00:00.000123+02:00"),
    (dt.time, "12:30:00"),
    (dt.timedelta, "P1DT2H"),
    (uuid.UUID, "12345678-1234-5678-1234-567812345678"),
    (Path, "some/file.txt"),
    (AnyUrl, "https://example.org/a"),
    (NewType("UserId", int), 5),
    (Color, "green"),
    (Level, "high"),
    (Literal["a", "b"], "b"),
    (Literal[1, 2], 2),
    (Literal["a b", "-"], "a b"),
    (Any, {"free": [1, "form"]}),
    (list[int], [1, 2, 3]),
    (set[int], [4]),
    (tuple[int, ...], [1, 2]),
    (tuple[int, int], [1, 2]),
    (tuple[int, str], [1, "a"]),
    (deque[Color], ["red"]),
    (Sequence[str], ["a"]),
    (list[list[dt.date]], [["2026-01-01"]]),
    (dict[str, int], {"a": 1}),
    (dict[str, dt.date], {"a": "2026-01-01"}),
    (int | str, "x"),
    (int | float, 2.5),
    (int | None, None),
    (list[int | None], [1, None]),
    (Annotated[int, Field(ge=0)], 3),
    (BigInt, 2**80),
    (Annotated[int, Field(le=2**53)], 2**50),
]


@pytest.mark.parametrize(("type_", "value"), LEAVES, ids=lambda value: getattr(value, "__name__", str(value))[:30])
def test_scalar_values_round_trip(type_, value):
    act = echo(type_)
    app = app_of(act)
    shown = next(line for line in schema_of(act).splitlines() if "echo(value:" in line)
    given = shown.partition("value: ")[2].partition(")")[0]
    with graphql_client(act) as ask:
        assert ask.data(f"mutation($v: {given}) {{ echo(value: $v) }}", {"v": value}) == {"echo": value}
    assert app is not None


def test_the_action_receives_and_returns_user_objects():
    seen = []

    @action(triggers=WEB_POST)
    async def draw(line: Line, person: Person, colors: list[Color]) -> Line:
        seen.extend([line, person, *colors])
        return dataclasses.replace(line, tags=[person.name])

    given = {"l": {"start": {"x": 1}, "end": {"x": 2, "y": 3}}, "p": {"name": "  Ada ", "born": "1815-12-10"}}
    query = "mutation($l: LineInput!, $p: PersonInput!) { draw(line: $l, person: $p, colors: [red, green]) { start { x y } tags } }"
    with graphql_client(draw) as ask:
        assert ask.data(query, given) == {"draw": {"start": {"x": 1, "y": 0}, "tags": ["Ada"]}}
    assert seen == [Line(Point(1), Point(2, 3)), Person(name="Ada", born=dt.date(1815, 12, 10)), Color.red, Color.green]


class Shape(enum.Enum):
    round = 1
    square = 2


@dataclass
class Thing:
    """A thing."""

    shape: Shape
    note: str = field(default="-", metadata={"description": "what to know"})


def test_user_classes_are_not_modified():
    before = {cls: dict(vars(cls)) for cls in (Shape, Thing, Person)}

    @action(triggers=WEB_GET)
    def thing(person: Person) -> Thing:
        return Thing(Shape.round)

    schema_of(thing)
    assert {cls: dict(vars(cls)) for cls in before} == before


def test_the_schema_shows_names_descriptions_and_defaults():
    class Options(BaseModel):
        """How to look."""

        page_size: int = Field(20, description="how many")
        order_by: Literal["name", "age"] = "name"
        since: dt.date = dt.date(2026, 1, 1)
        price: Decimal = Decimal("1.50")
        tags: list[str] = ["a"]
        made: list[str] = Field(default_factory=list)
        note: str | None = None
        shape: Shape = Shape.square

    @action(triggers=WEB_GET)
    def find_things(options: Options, max_count: Annotated[int, Field(description="at most")] = 3) -> list[Thing]:
        """Finds things."""
        return []

    assert schema_of(find_things) == FIND_THINGS


FIND_THINGS = '''"""A date, as in 2026-02-28."""
scalar Date

"""A decimal number as a string, exact."""
scalar Decimal

enum NameOrAge {
  age
  name
}

"""How to look."""
input OptionsInput {
  made: [String!]
  note: String = null
  orderBy: NameOrAge! = name

  """how many"""
  pageSize: Int! = 20
  price: Decimal! = "1.50"
  shape: Shape! = square
  since: Date! = "2026-01-01"
  tags: [String!]! = ["a"]
}

type Query {
  """Finds things."""
  findThings(
    """at most"""
    maxCount: Int! = 3
    options: OptionsInput!
  ): [Thing!]!
}

enum Shape {
  round
  square
}

"""A thing."""
type Thing {
  """what to know"""
  note: String!
  shape: Shape!
}
'''


def test_a_default_is_the_same_object_as_the_functions():
    @action(triggers=WEB_GET)
    def take(count: Annotated[int, Field(le=5)] = 10, since: dt.date = dt.date(2026, 1, 1)) -> str:
        return f"{count} {since!r}"

    with graphql_client(take) as ask:
        assert ask.data("{ take }") == {"take": "10 datetime.date(2026, 1, 1)"}
        assert ask.error("{ take(count: 6) }")["code"] == "invalid_params"


def test_constraints_are_pydantics():
    class Limits(BaseModel):
        low: int = Field(ge=1)

    @action(triggers=WEB_POST)
    def check(limits: Limits, name: Annotated[str, Field(max_length=3)]) -> bool:
        return True

    with graphql_client(check) as ask:
        error = ask.error('mutation { check(limits: {low: 0}, name: "long") }')
    assert error["code"] == "invalid_params"
    assert error["path"] == ["check"]
    assert [each["loc"] for each in error["extensions"]["detail"]] == [["limits", "low"], ["name"]]
