"""Every type that pydantic knows goes in and comes out through GraphQL as the user's own."""

import dataclasses
import datetime as dt
import enum
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypeVar

import pytest
from pydantic import AnyUrl, BaseModel, Field, PlainSerializer, RootModel, SecretStr, computed_field, field_serializer
from typing_extensions import TypedDict

from servey import WEB_GET, WEB_POST, ConfigError, WebTrigger, WebTriggerMethod, action
from servey.graphql import BigInt
from tests.graphql.asking import app_of, asking, schema_of
from tests.routers.test_types import TYPES, Color, Level, Line, Page, Person, Point, Tree

T = TypeVar("T")


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
def test_a_value_without_fields_goes_in_and_comes_out_the_same(type_, value):
    act = echo(type_)
    app = app_of(act)
    shown = next(line for line in schema_of(act).splitlines() if "echo(value:" in line)
    given = shown.partition("value: ")[2].partition(")")[0]
    with asking(act) as ask:
        assert ask.data(f"mutation($v: {given}) {{ echo(value: $v) }}", {"v": value}) == {"echo": value}
    assert app is not None


def test_the_action_receives_and_returns_the_users_own_objects():
    seen = []

    @action(triggers=WEB_POST)
    async def draw(line: Line, person: Person, colors: list[Color]) -> Line:
        seen.extend([line, person, *colors])
        return dataclasses.replace(line, tags=[person.name])

    given = {"l": {"start": {"x": 1}, "end": {"x": 2, "y": 3}}, "p": {"name": "  Ada ", "born": "1815-12-10"}}
    query = "mutation($l: LineInput!, $p: PersonInput!) { draw(line: $l, person: $p, colors: [red, green]) { start { x y } tags } }"
    with asking(draw) as ask:
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


def test_the_users_classes_are_left_as_they_are():
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


def test_a_default_is_the_functions_own():
    @action(triggers=WEB_GET)
    def take(count: Annotated[int, Field(le=5)] = 10, since: dt.date = dt.date(2026, 1, 1)) -> str:
        return f"{count} {since!r}"

    with asking(take) as ask:
        assert ask.data("{ take }") == {"take": "10 datetime.date(2026, 1, 1)"}
        assert ask.error("{ take(count: 6) }")["code"] == "invalid_params"


def test_constraints_are_pydantics():
    class Limits(BaseModel):
        low: int = Field(ge=1)

    @action(triggers=WEB_POST)
    def check(limits: Limits, name: Annotated[str, Field(max_length=3)]) -> bool:
        return True

    with asking(check) as ask:
        error = ask.error('mutation { check(limits: {low: 0}, name: "long") }')
    assert error["code"] == "invalid_params"
    assert error["path"] == ["check"]
    assert [each["loc"] for each in error["extensions"]["detail"]] == [["limits", "low"], ["name"]]


def test_generics_recursion_and_forward_references():
    @action(triggers=WEB_GET)
    def page() -> Page[Point]:
        return Page[Point](items=[Point(1)], total=1)

    @action(triggers=WEB_POST)
    def plant(tree: Tree) -> Tree:
        return tree

    with asking(page, plant) as ask:
        assert ask.data("{ page { __typename total items { x } } }") == {
            "page": {"__typename": "PointPage", "total": 1, "items": [{"x": 1}]}
        }
        tree = {"value": 1, "children": [{"value": 2}]}
        query = "mutation($t: TreeInput!) { plant(tree: $t) { value children { value children { value } } } }"
        assert ask.data(query, {"t": tree}) == {"plant": {"value": 1, "children": [{"value": 2, "children": []}]}}


@dataclass
class Box(Generic[T]):
    content: T
    others: list[T]


class Cat(BaseModel):
    lives: int


class Dog(BaseModel):
    tricks: list[str]


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Names(RootModel[list[str]]):
    pass


def test_generic_dataclasses_typed_dicts_named_tuples_and_root_models():
    @action(triggers=WEB_POST)
    def box(movie: Movie, pair: Pair, names: Names) -> Box[Movie]:
        assert (pair, names) == (Pair(1), Names(["a"]))
        return Box(movie, [{"title": "b"}])

    @action(triggers=WEB_GET)
    def names() -> Names:
        return Names(["x"])

    @action(triggers=WEB_GET)
    def pair() -> Pair:
        return Pair(3)

    with asking(box, names, pair) as ask:
        query = '{ box(movie: {title: "a", year: 1}, pair: {left: 1}, names: ["a"]) { content { title year } others { title year } } }'
        assert ask.data(f"mutation {query}") == {
            "box": {"content": {"title": "a", "year": 1}, "others": [{"title": "b", "year": None}]}
        }
        assert ask.data("{ names pair { left right } }") == {"names": ["x"], "pair": {"left": 3, "right": "r"}}


def test_a_union_of_objects_is_a_union():
    @action(triggers=WEB_GET)
    def pets() -> list[Cat | Dog | None]:
        return [Cat(lives=9), None, Dog(tricks=["sit"])]

    with asking(pets) as ask:
        answer = ask.data("{ pets { __typename ... on Cat { lives } ... on Dog { tricks } } }")
    assert answer == {"pets": [{"__typename": "Cat", "lives": 9}, None, {"__typename": "Dog", "tricks": ["sit"]}]}


def test_what_a_class_hides_or_writes_in_its_own_way():
    class Account(BaseModel):
        name: str = Field(serialization_alias="userName")
        password: str = Field("secret", exclude=True)
        token: SecretStr = SecretStr("hidden")
        born: dt.date = dt.date(2000, 1, 2)
        hours: Annotated[int, PlainSerializer(lambda value: f"{value} h", return_type=str)] = 3

        @field_serializer("born")
        def year(self, born: dt.date) -> int:
            return born.year

        @computed_field
        @property
        def shout(self) -> str:
            return self.name.upper()

    @action(triggers=WEB_GET)
    def account() -> Account:
        return Account(name="ada")

    sdl = schema_of(account)
    assert "password" not in sdl
    with asking(account) as ask:
        assert ask.data("{ account { userName token born hours shout } }") == {
            "account": {"userName": "ada", "token": "**********", "born": 2000, "hours": "3 h", "shout": "ADA"}
        }


def test_two_types_of_one_name_are_two_types():
    def made(where):
        cls = dataclasses.make_dataclass("Entry", [(f"in_{where}", int)])
        cls.__module__ = f"shop.{where}"
        return cls

    Stock, Sales = made("stock"), made("sales")

    @action(triggers=WEB_GET)
    def first() -> Stock:
        return Stock(1)

    @action(triggers=WEB_GET)
    def second() -> Sales:
        return Sales(2)

    with asking(first, second) as ask:
        assert ask.data("{ first { __typename inStock } second { __typename inSales } }") == {
            "first": {"__typename": "Entry", "inStock": 1},
            "second": {"__typename": "SalesEntry", "inSales": 2},
        }


def test_a_number_beyond_32_bits_is_a_clear_error():
    @action(triggers=WEB_GET)
    def big() -> int:
        return 2**40

    with asking(big) as ask:
        error = ask.error("{ big }")
        assert (error["code"], "BigInt" in error["message"], error["path"]) == ("internal", True, ["big"])


def test_names_that_are_the_same_in_camel_case_stop_the_start():
    @action(triggers=WEB_GET)
    def get_user() -> str:
        return ""

    @action(triggers=WebTrigger(WebTriggerMethod.GET, path="/other"))
    def getUser() -> str:
        return ""

    @dataclass
    class Clash:
        user_name: str
        userName: str

    @action(triggers=WEB_GET)
    def clash() -> Clash:
        return Clash("", "")

    with pytest.raises(ConfigError) as problem:
        app_of(get_user, getUser, clash)
    assert "action 'get_user'" in problem.value.problems[0]
    assert "action 'getUser'" in problem.value.problems[0]
    assert "'user_name' and 'userName' are both 'userName' in GraphQL" in problem.value.problems[1]


def test_one_name_may_be_a_query_and_a_mutation():
    @action(triggers=(WEB_GET, WEB_POST))
    def both() -> str:
        return "x"

    with asking(both) as ask:
        assert ask.data("{ both }") == ask.data("mutation { both }") == {"both": "x"}


def test_an_endpoint_exists_without_queries():
    @action(triggers=WEB_POST)
    def change() -> str:
        return "x"

    with asking(change) as ask:
        assert ask.data("mutation { change }") == {"change": "x"}
    with asking() as ask:
        assert ask.data("{ __typename }") == {"__typename": "Query"}


def test_optional_forward_reference_to_itself():
    with asking(nodes) as ask:
        assert ask.data("{ nodes { next { next { value } } } }") == {"nodes": {"next": {"next": None}}}


class Node(BaseModel):
    value: int
    next: Optional["Node"] = None


@action(triggers=WEB_GET)
def nodes() -> Node:
    return Node(value=1, next=Node(value=2))
