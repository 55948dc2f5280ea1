"""Generics, unions of generics, IDs, and names that are keywords in Python."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar

import pytest
import strawberry
from pydantic import BaseModel, Field, create_model
from typing_extensions import TypedDict

from servey import WEB_GET, WEB_POST, action
from servey.graphql import ID
from tests.graphql.graphql_client import graphql_client, schema_of

T = TypeVar("T")
S = TypeVar("S")


@dataclass
class Apple:
    size: int


@dataclass
class Book:
    title: str


@dataclass
class Novel(Book):
    author: str = "?"


@dataclass
class Page(Generic[T]):
    items: list[T] = field(default_factory=list)
    first: T | None = None


@dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    content: T


class Model(BaseModel, Generic[T]):
    content: T


class Pair(NamedTuple, Generic[T]):
    left: T
    right: T


@dataclass
class Both(Generic[T, S]):
    one: T
    two: S


A = Page[Apple] | Page[Book]
B = Box[int] | Box[str] | Box[None] | Box[list[Apple]] | Box[Page[Apple]] | Box[Page[Book]]


@pytest.mark.parametrize(
    ("annotation", "value", "name"),
    [
        (A, Page([Apple(1)]), "ApplePage"),
        (A, Page([Book("b")]), "BookPage"),
        (A, Page[Book]([Book("b")]), "BookPage"),
        (A, Page([], Book("b")), "BookPage"),
        (A, Page[Book](), "BookPage"),
        (A, Page[Apple](), "ApplePage"),
        (B, Box(1), "IntBox"),
        (B, Box("a"), "StrBox"),
        (B, Box(None), "NoneBox"),
        (B, Box([Apple(1)]), "AppleListBox"),
        (B, Box(Page([Apple(1)])), "ApplePageBox"),
        (B, Box(Page([Book("b")])), "BookPageBox"),
        (Model[Apple] | Model[Book], Model[Book](content=Book("b")), "BookModel"),
        (Model[Apple] | Model[Book], {"content": {"title": "b"}}, "BookModel"),
        (Model[int] | Model[str], Model[str](content="1"), "StrModel"),
        (Pair[Apple] | Pair[Book], Pair(Book("a"), Book("b")), "BookPair"),
        (Both[Apple, Book] | Both[Book, Apple], Both(Book("b"), Apple(1)), "BookAppleBoth"),
        (Book | Novel, Novel("n"), "Novel"),
        (Book | Novel, Book("n"), "Book"),
        (Book | Apple, Novel("n"), "Book"),
    ],
)
def test_a_union_resolves_to_the_matching_member(annotation, value, name):
    @action(triggers=WEB_GET)
    async def one() -> annotation:
        return value

    @action(triggers=WEB_GET)
    async def several() -> list[annotation]:
        return [value, value]

    with graphql_client(one, several) as ask:
        rest = ask.http.get("/actions/one")
        assert rest.status_code == 200
        got = ask.data("{ one { __typename } several { __typename } }")
    assert got == {"one": {"__typename": name}, "several": [{"__typename": name}] * 2}


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        (Apple, "ApplePage"),
        (list[Apple], "AppleListPage"),
        (Apple | None, "OptionalApplePage"),
        (Apple | Book, "AppleOrBookPage"),
        (Annotated[Apple, "note"], "ApplePage"),
        (Literal["small", "large"], "SmallOrLargePage"),
        (UserId, "UserIdPage"),
        (Page[Apple], "ApplePagePage"),
        (tuple[int, ...], "IntTuplePage"),
        (str, "StrPage"),
    ],
)
def test_generic_types_have_readable_names(argument, name):
    @action(triggers=WEB_POST)
    async def keep(page: Page[argument]) -> Page[argument]:
        return page

    text = schema_of(keep)
    assert f"type {name} {{" in text
    assert f"input {name}Input {{" in text


def test_equal_names_of_arguments_are_told_apart_by_module():
    def entry(module: str) -> Any:
        made = create_model("Entry", **{f"in_{module}": (int, 1)})
        made.__module__ = f"shop.{module}"
        return made

    stock, sales = entry("stock"), entry("sales")

    @action(triggers=WEB_GET)
    async def one() -> Page[stock]: ...

    @action(triggers=WEB_GET)
    async def two() -> Page[sales]: ...

    text = schema_of(one, two)
    assert "type EntryPage {" in text
    assert "type SalesEntryPage {" in text


Odd = create_model("Odd", **dict.fromkeys(("class", "from", "None", "a-b", "self", "info"), (int | None, None)))  # type: ignore[call-overload]
Keys = TypedDict("Keys", {"class": int, "in": str, "from": list[int]})


class Words(Enum):
    None_ = "n"
    source = "s"


Words2 = Enum("Words2", ["from", "None", "import", "name", "value"])
Reserved = Literal["mro", "_a_", "None", "class"]


class Aliased(BaseModel):
    class_: int = Field(alias="class")
    from_: str = Field("x", alias="from")
    none: int = Field(0, serialization_alias="None")


def test_keywords_are_field_and_argument_names():
    @action(triggers=WEB_GET)
    async def odd(odd: Odd, keys: Keys, aliased: Aliased) -> list[Odd]:
        return [odd, Odd(**{"class": keys["class"], "from": aliased.class_})]

    @action(triggers=WEB_GET)
    async def keys(from_: Annotated[int, Field(alias="from")], class_: int = 2) -> Keys:
        return {"class": from_, "in": str(class_), "from": [1]}

    @action(triggers=WEB_GET)
    async def aliased() -> Aliased:
        return Aliased(**{"class": 1, "from": "y"})

    @action(triggers=WEB_GET)
    async def words(word: Words2, reserved: Reserved) -> tuple[Words2, Words2]:
        assert reserved == "mro"
        return (word, Words2["from"])

    with graphql_client(odd, keys, aliased, words) as ask:
        query = """{
            odd(odd: {class: 1, from: 2, None: 3, aB: 4, self: 5, info: 6}, keys: {class: 7, in: "x", from: []}, aliased: {class: 8})
              { class from None aB self info }
            keys(from: 3, class_: 4) { class in from }
            aliased { class from None }
            words(word: None, reserved: mro)
        }"""
        assert ask.data(query) == {
            "odd": [
                {"class": 1, "from": 2, "None": 3, "aB": 4, "self": 5, "info": 6},
                {"class": 7, "from": 8, "None": None, "aB": None, "self": None, "info": None},
            ],
            "keys": {"class": 3, "in": "4", "from": [1]},
            "aliased": {"class": 1, "from": "y", "None": 0},
            "words": ["None", "from"],
        }


@dataclass
class Node:
    id: ID
    other: strawberry.ID
    parents: list[ID]
    next: strawberry.ID | None = None


OrderId = NewType("OrderId", strawberry.ID)


def test_ids_where_the_annotation_says_so():
    @action(triggers=WEB_POST)
    async def node(node: Node, order: OrderId, plain: str, id: Annotated[ID, Field(max_length=3)] = "a") -> Node:
        assert (order, plain, id) == ("7", "p", "12")
        return node

    text = schema_of(node)
    for line in (
        "id: ID!",
        "other: ID!",
        "parents: [ID!]!",
        "next: ID",
        "order: ID!",
        "plain: String!",
        'id: ID! = "a"',
    ):
        assert line in text
    with graphql_client(node) as ask:
        query = """mutation($id: ID!) {
            node(node: {id: 1, other: "b", parents: [$id, "x"]}, order: 7, plain: "p", id: 12) { id other parents next }
        }"""
        assert ask.data(query, {"id": 5}) == {"node": {"id": "1", "other": "b", "parents": ["5", "x"], "next": None}}
        assert ask.error('mutation { node(node: {id: 1, other: 1, parents: []}, order: 7, plain: "p", id: "1234") { id } }')["code"] == "invalid_params"  # fmt: skip
        schema = ask.http.get("/openapi.json").json()["components"]["schemas"]["Node"]["properties"]
        assert schema["id"] == {"type": "string", "title": "Id"}
