"""GraphQL types: generic classes, unions, names of types and fields."""

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Generic, NamedTuple, NotRequired, Optional, TypeVar

import pytest
from pydantic import BaseModel, Field, PlainSerializer, RootModel, SecretStr, computed_field, field_serializer
from typing_extensions import TypedDict

from servey import WEB_GET, WEB_POST, Authorization, ConfigError, WebTrigger, WebTriggerMethod, action
from tests.graphql.graphql_client import app_of, graphql_client, schema_of
from tests.routers.test_types import Page, Point, Tree

T = TypeVar("T")


def test_generics_recursion_and_forward_references():
    @action(triggers=WEB_GET)
    def page() -> Page[Point]:
        return Page[Point](items=[Point(1)], total=1)

    @action(triggers=WEB_POST)
    def plant(tree: Tree) -> Tree:
        return tree

    with graphql_client(page, plant) as ask:
        assert ask.data("{ page { __typename total items { x } } }") == {
            "page": {"__typename": "PointPage", "total": 1, "items": [{"x": 1}]}
        }
        tree = {"value": 1, "children": [{"value": 2}]}
        query = "mutation($t: TreeInput!) { plant(tree: $t) { value children { value children { value } } } }"
        assert ask.data(query, {"t": tree}) == {"plant": {"value": 1, "children": [{"value": 2, "children": []}]}}


@dataclass
class Box(Generic[T]):
    content: T
    others: list[T] | None
    marked: Annotated[dict[str, T] | None, "kept"] = None


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

    with graphql_client(box, names, pair) as ask:
        query = '{ box(movie: {title: "a", year: 1}, pair: {left: 1}, names: ["a"]) { content { title year } others { title year } } }'
        assert ask.data(f"mutation {query}") == {
            "box": {"content": {"title": "a", "year": 1}, "others": [{"title": "b", "year": None}]}
        }
        assert ask.data("{ names pair { left right } }") == {"names": ["x"], "pair": {"left": 3, "right": "r"}}


def test_a_union_of_objects_is_a_union():
    @action(triggers=WEB_GET)
    def pets() -> list[Cat | Dog | None]:
        return [Cat(lives=9), None, Dog(tricks=["sit"])]

    with graphql_client(pets) as ask:
        answer = ask.data("{ pets { __typename ... on Cat { lives } ... on Dog { tricks } } }")
    assert answer == {"pets": [{"__typename": "Cat", "lives": 9}, None, {"__typename": "Dog", "tricks": ["sit"]}]}


@dataclass(frozen=True)
class Member(Authorization):
    team: str = "red"


def test_an_authorization_that_an_action_returns_is_an_object():
    @action(triggers=WEB_GET)
    async def who_am_i(authorization: Authorization | None) -> Authorization | None:
        return authorization

    @action(triggers=WEB_GET)
    async def member() -> Member:
        return Member("ada", frozenset({"b"}))

    with graphql_client(who_am_i, member) as ask:
        answer = ask.data("{ whoAmI { subjectId } member { __typename subjectId scopes expireAt team } }")
    expected = {"__typename": "Member", "subjectId": "ada", "scopes": ["b"], "expireAt": None, "team": "red"}
    assert answer == {"whoAmI": None, "member": expected}


def test_excluded_and_serialized_fields():
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
    with graphql_client(account) as ask:
        assert ask.data("{ account { userName token born hours shout } }") == {
            "account": {"userName": "ada", "token": "**********", "born": 2000, "hours": "3 h", "shout": "ADA"}
        }


def test_two_classes_with_one_name_are_two_types():
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

    with graphql_client(first, second) as ask:
        assert ask.data("{ first { __typename inStock } second { __typename inSales } }") == {
            "first": {"__typename": "Entry", "inStock": 1},
            "second": {"__typename": "SalesEntry", "inSales": 2},
        }


def test_a_number_beyond_32_bits_is_a_clear_error():
    @action(triggers=WEB_GET)
    def big() -> int:
        return 2**40

    with graphql_client(big) as ask:
        error = ask.error("{ big }")
        assert (error["code"], "BigInt" in error["message"], error["path"]) == ("internal", True, ["big"])


def test_names_that_collide_in_camel_case_stop_the_start():
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

    with graphql_client(both) as ask:
        assert ask.data("{ both }") == ask.data("mutation { both }") == {"both": "x"}


def test_an_endpoint_exists_without_queries():
    @action(triggers=WEB_POST)
    def change() -> str:
        return "x"

    with graphql_client(change) as ask:
        assert ask.data("mutation { change }") == {"change": "x"}
    with graphql_client() as ask:
        assert ask.data("{ __typename }") == {"__typename": "Query"}


def test_optional_forward_reference_to_itself():
    with graphql_client(nodes) as ask:
        assert ask.data("{ nodes { next { next { value } } } }") == {"nodes": {"next": {"next": None}}}


class Node(BaseModel):
    value: int
    next: Optional["Node"] = None


@action(triggers=WEB_GET)
def nodes() -> Node:
    return Node(value=1, next=Node(value=2))
