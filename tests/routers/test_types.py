"""Every type that pydantic knows goes in over REST, comes out the same, and stands in OpenAPI."""

import datetime as dt
import enum
import ipaddress
import re
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypeVar

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    EmailStr,
    FailFast,
    Field,
    InstanceOf,
    Json,
    RootModel,
    SecretStr,
    conint,
)
from typing_extensions import TypedDict

from servey import WEB_GET, WEB_POST, ConfigError, Settings, action, create_app
from servey.testing import client

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(enum.Enum):
    red = "r"
    green = "g"


class Level(enum.IntEnum):
    low = 1
    high = 2


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True)
class Line:
    start: Point
    end: Point
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    value: int
    children: list["Tree"] = field(default_factory=list)


class Person(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    name: str
    born: dt.date | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int


class Aliased(BaseModel):
    user_name: str = Field(alias="userName")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str


class Names(RootModel[list[str]]):
    pass


class Linked(BaseModel):
    value: int
    next: Optional["Linked"] = None


# type, a JSON value that goes in and comes out the same, and whether a query string can hold it
TYPES: list[tuple[Any, Any, bool]] = [
    (str, "häé \u4e16 ☃", True),
    (int, 7, True),
    (int, 2**80, True),
    (float, 1.5, True),
    (bool, True, True),
    (None, None, False),
    (bytes, "raw", True),
    (Decimal, "12.340", True),
    (complex, "1+2j", True),
    (dt.date, "2026-02-28", True),
    (dt.datetime, "2026-02-28T12:00:00Z", True),
    (dt.time, "12:30:00", True),
    (dt.timedelta, "P1DT2H", True),
    (uuid.UUID, "12345678-1234-5678-1234-567812345678", True),
    (Path, "some/file.txt", True),
    (AnyUrl, "https://example.org/a", True),
    (re.Pattern, "^a+$", True),
    (ipaddress.IPv4Address, "192.0.2.1", True),
    (ipaddress.IPv6Network, "2001:db8::/32", True),
    (Fraction, "1/3", True),
    (UserId, 5, True),
    (Color, "g", True),
    (Level, 2, True),
    (Literal["a", "b"], "b", True),
    (Any, {"free": [1, "form"]}, False),
    (list[int], [1, 2, 3], True),
    (set[int], [4], True),
    (frozenset[str], ["one"], True),
    (tuple[int, str], [1, "a"], True),
    (tuple[int, ...], [1, 2], True),
    (deque[int], [1, 2], True),
    (Sequence[str], ["a", "b"], True),
    (dict[str, int], {"a": 1}, False),
    (dict[dt.date, Decimal], {"2026-01-01": "1.5"}, False),
    (Mapping[str, list[int]], {"a": [1]}, False),
    (defaultdict[str, int], {"z": 0}, False),
    (OrderedDict[str, int], {"z": 0, "a": 1}, False),
    (int | None, None, False),
    (int | None, 3, True),
    (Optional[Color], "r", True),  # noqa: UP045 - as people write it
    (int | str, "x", True),
    (Point, {"x": 1, "y": 2}, True),
    (Point | None, {"x": 1, "y": 2}, True),
    (Line, {"start": {"x": 0, "y": 0}, "end": {"x": 1, "y": 1}, "tags": ["t"]}, True),
    (list[Point], [{"x": 1, "y": 2}], False),
    (Tree, {"value": 1, "children": [{"value": 2, "children": []}]}, False),
    (Linked, {"value": 1, "next": {"value": 2, "next": None}}, False),
    (Person, {"name": "Ada", "born": "1815-12-10"}, True),
    (Page[Person], {"items": [{"name": "Ada", "born": None}], "total": 1}, False),
    (Page[int], {"items": [1], "total": 1}, True),
    (Aliased, {"userName": "ada"}, True),
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "dog", "tricks": ["sit"]}, True),
    (list[Cat | Dog], [{"kind": "cat", "lives": 9}], False),
    (Movie, {"title": "M", "year": 1931}, True),
    (Pair, [1, "r"], False),
    (Names, ["a", "b"], True),
    (Annotated[int, Field(ge=1, le=9)], 9, True),
    (Annotated[str, Field(pattern="^a", max_length=3)], "abc", True),
    (conint(multiple_of=5), 25, True),
    (type("Empty", (BaseModel,), {}), {}, False),
]


def _echo(number: int, type_: Any, *triggers: Any) -> Any:
    def echo(value: Any) -> Any:
        return value

    echo.__annotations__ = {"value": type_, "return": type_}
    return action(name=f"echo_{number}", triggers=triggers)(echo)


POSTED = [_echo(number, type_, WEB_POST) for number, (type_, _, _) in enumerate(TYPES)]
GOTTEN = [_echo(number, type_, WEB_GET) for number, (type_, _, in_query) in enumerate(TYPES) if in_query]


@pytest.fixture(scope="module")
def posts():
    with client(create_app(actions=POSTED, settings=Settings(env="dev"))) as http:
        yield http


@pytest.fixture(scope="module")
def gets():
    with client(create_app(actions=GOTTEN, settings=Settings(env="dev"))) as http:
        yield http


def test_there_are_at_least_forty_types():
    assert len({repr(type_) for type_, _, _ in TYPES}) >= 40


@pytest.mark.parametrize("number", range(len(TYPES)), ids=lambda number: f"{TYPES[number][0]!r:.50}")
def test_a_body_round_trips(posts, number):
    _, value, _ = TYPES[number]
    answer = posts.post(f"/actions/echo-{number}", json={"value": value})
    assert (answer.status_code, answer.json()) == (200, value)


def _pairs(value: Any, name: str = "value") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _pairs(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item, name)
    else:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(
    "number", [number for number, row in enumerate(TYPES) if row[2]], ids=lambda number: f"{TYPES[number][0]!r:.50}"
)
def test_a_query_round_trips(gets, number):
    _, value, _ = TYPES[number]
    answer = gets.get(f"/actions/echo-{number}", params=list(_pairs(value)))
    assert (answer.status_code, answer.json()) == (200, value)


@pytest.mark.parametrize("number", range(len(TYPES)), ids=lambda number: f"{TYPES[number][0]!r:.50}")
def test_openapi_shows_it(posts, number):
    type_ = TYPES[number][0]
    document = posts.app.openapi()
    operation = document["paths"][f"/actions/echo-{number}"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    shown = document["components"]["schemas"][reference.rpartition("/")[2]]["properties"]["value"]
    result = operation["responses"]["200"]["content"]["application/json"]["schema"]
    for schema in (shown, result):
        assert type_ is Any or set(schema) - {"title", "description"}, f"{type_} is shown as {schema}"


def test_what_is_secret_stays_so():
    @action(triggers=WEB_POST)
    def keep(word: SecretStr) -> SecretStr:
        return word

    with client(create_app(actions=[keep], settings=Settings(env="dev"))) as http:
        assert http.post("/actions/keep", json={"word": "hush"}).json() == "**********"


def test_json_inside_json():
    @action(triggers=WEB_POST)
    def unpack(text: Json[list[int]]) -> list[int]:
        return text

    with client(create_app(actions=[unpack], settings=Settings(env="dev"))) as http:
        assert http.post("/actions/unpack", json={"text": "[1, 2]"}).json() == [1, 2]


def test_a_type_whose_library_is_missing_is_a_config_error():
    def write_to(address: EmailStr) -> str:
        return address

    with pytest.raises(ConfigError, match=r"action 'write_to' .*parameter 'address' .*email-validator"):
        create_app(actions=[action(triggers=WEB_POST)(write_to)], settings=Settings(env="dev"))


class Anything:
    pass


@pytest.mark.parametrize("type_", [Callable[[], int], type, InstanceOf[Anything]])
def test_a_type_that_no_json_stands_for_is_a_config_error(type_):
    def take(fine: int, value) -> None: ...

    def give() -> None: ...

    take.__annotations__["value"] = give.__annotations__["return"] = type_
    settings = Settings(env="dev")
    with pytest.raises(ConfigError) as caught:
        create_app(actions=[action(triggers=WEB_POST)(take), action(triggers=WEB_POST)(give)], settings=settings)
    first, second = caught.value.problems
    assert re.match(
        r"action 'take' \(.*test_types.py:\d+\): parameter 'value' has a type that has no JSON schema", first
    )
    assert re.match(r"action 'give' \(.*test_types.py:\d+\): the result type cannot be serialized to JSON", second)
    create_app(actions=[action(take), action(give)], settings=settings)  # which no client can reach


def test_an_annotation_that_can_not_be_hashed():
    @action(triggers=WEB_POST)
    def numbers(value: Annotated[list[int], FailFast()]) -> Annotated[list[int], FailFast(), {"a": "note"}]:
        return value

    app = create_app(actions=[numbers], settings=Settings(env="dev"))
    content = app.openapi()["paths"]["/actions/numbers"]["post"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"]["items"] == {"type": "integer"}
    with client(app) as http:
        assert http.post("/actions/numbers", json={"value": [1]}).json() == [1]
        assert len(http.post("/actions/numbers", json={"value": ["x", "y"]}).json()["detail"]) == 1
