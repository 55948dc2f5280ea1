"""The text of a value: the same for what is the same, another one for everything else."""

import datetime as dt
import re
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag
from ipaddress import ip_address
from itertools import combinations
from pathlib import PurePosixPath
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, PrivateAttr, SecretBytes, SecretStr, field_serializer

from servey.core.canonical import NotPlainError, canonical
from tests.serving import run

T = TypeVar("T")


class Color(Enum):
    red = 1
    crimson = 2


class Level(IntEnum):
    low = 1


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Vector:
    x: int
    y: int = 0


class Pair(NamedTuple):
    x: int
    y: int


class Hidden(BaseModel):
    shown: int
    secret: str = Field(exclude=True)
    day: dt.datetime

    @field_serializer("day")
    def only_the_day(self, value: dt.datetime) -> str:
        return str(value.date())


class Open(BaseModel, extra="allow"):
    a: int


class Lazy(BaseModel):
    a: int
    b: int = 2
    _owner: str = PrivateAttr("")

    @classmethod
    def owned_by(cls, owner: str) -> "Lazy":
        made = cls(a=1)
        made._owner = owner
        return made


class Owned(Point):
    """A subclass that keeps more than its fields."""

    def __init__(self, x: int, owner: str) -> None:
        super().__init__(x)
        self.owner = owner


class Slotted(Point):
    __slots__ = ("__owner",)

    def __init__(self, x: int, owner: str) -> None:
        super().__init__(x)
        self.__owner = owner


class Tagged(str):
    @classmethod
    def of(cls, text: str, tag: str) -> "Tagged":
        made = cls(text)
        made.tag = tag  # type: ignore[attr-defined]
        return made


class Permission(IntFlag):
    read = 1


class Link(AnyUrl):
    """A URL of the project's own."""


@dataclass
class Words(dict[str, int]):
    a: int


@dataclass
class Box(Generic[T]):
    content: object


class Zone(dt.tzinfo):
    utc = dt.datetime(2026, 1, 1)

    def __init__(self) -> None:
        self.utc = dt.datetime(2026, 1, 1, tzinfo=self)

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)

# No two of them may have the same text.
DIFFERENT = [
    None, True, False, 0, 1, -1, 2**70, "", "0", "1", "true", "null", "None", 0.0, -0.0, 1.0, 1.5, float("inf"), float("nan"),
    b"", b"1", bytearray(b"1"), "31", Decimal("1"), Decimal("1.0"), Color.red, Color.crimson, Level.low, [], [1], ["1"], [[1]],
    [1, 2], [2, 1], (), (1,), (1, 2), {1}, {1, 2}, frozenset({1}), {}, {"a": 1}, {"a": 2}, {"b": 1}, {1: "a"}, {"1": "a"},
    [["a", 1]], deque([1]), Point(1), Point(1, 1), Vector(1), {"x": 1, "y": 0}, Pair(1, 0), Open(a=1), Open(a=1, b=2),
    Hidden(shown=1, secret="a", day=NOON), Hidden(shown=1, secret="b", day=NOON),
    Hidden(shown=1, secret="a", day=NOON + dt.timedelta(seconds=1)), SecretStr("a"), SecretStr("b"), SecretBytes(b"a"), "a",
    NOON, NOON.replace(tzinfo=None), NOON.astimezone(ZoneInfo("Europe/Berlin")), NOON.date(), NOON.time(), str(NOON),
    dt.timedelta(seconds=1), dt.timedelta(microseconds=1), UUID(int=1), str(UUID(int=1)), PurePosixPath("/a"), "/a",
    AnyUrl("https://a.example/"), "https://a.example/", ip_address("127.0.0.1"), re.compile("a"), re.compile("a", re.DOTALL),
    "\ud800", "ä", "a\u0308",
]  # fmt: skip


def test_different_values_have_different_texts():
    for one, other in combinations(DIFFERENT, 2):
        assert canonical(one) != canonical(other), (one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ({3, 1, 2}, {2, 3, 1}),
        (Point(1), Point(x=1, y=0)),
        ({"a": {"c": 1, "b": 2}}, {"a": {"b": 2, "c": 1}}),
        (Open(a=1, b=2, c=3), Open(a=1, c=3, b=2)),
    ],
)
def test_equal_values_have_one_text_unless_it_is_exact(one, other):
    assert canonical(one, exact=False) == canonical(other, exact=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Counter("ab"), Counter("ba")),
        (Lazy(a=1), Lazy(a=1, b=2)),
        (Lazy.owned_by("ada"), Lazy.owned_by("bob")),
        (Owned(1, "ada"), Owned(1, "bob")),
        (Slotted(1, "ada"), Slotted(1, "bob")),
        (Tagged.of("x", "ada"), Tagged.of("x", "bob")),
        (Permission(8), Permission(16)),
        (Permission.read, 1),
        (deque([1], maxlen=1), deque([1])),
        (dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "A")), NOON),
        (Box[int](1), Box[str](1)),
        (10**5000, 10**5000 + 1),
        (Link("https://a.example/"), AnyUrl("https://a.example/")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_code_can_tell_apart_has_another_text(one, other):
    assert canonical(one) != canonical(other)


def test_a_value_in_itself_or_nested_without_end_has_none():
    inside: list[object] = []
    inside.append({"inside": inside})
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (inside, deep):
        with pytest.raises(NotPlainError):
            canonical(value)
    twice = [1]
    assert canonical([twice, twice]) == canonical([[1], [1]])


def test_a_kind_of_dict_is_its_own():
    assert canonical(OrderedDict(a=1)) != canonical({"a": 1})


@pytest.mark.parametrize("value", [Zone().utc, defaultdict(list), Words(a=1)], ids=lambda value: type(value).__name__)
def test_what_may_have_more_in_it_than_can_be_seen(value):
    with pytest.raises(NotPlainError):
        canonical(value)


@pytest.mark.parametrize("value", [object(), open, lambda: 1, [object()], {"a": object()}, Point(object()), iter([])])
def test_what_has_none(value):
    with pytest.raises(NotPlainError, match="is not a plain value"):
        canonical(value)


def test_it_is_the_same_in_every_process():
    program = "from servey.core.canonical import canonical; print(canonical({'a': {'x', 'y', 'z'}, 'b': 1.5}))"
    assert len({run("-c", program, PYTHONHASHSEED=seed).stdout for seed in ("1", "2", "3")}) == 1


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def same(one: object, other: object) -> bool:
    """Equality that tells 1 from True and 1.0, and 0.0 from -0.0."""
    return repr(one) == repr(other)


@given(PLAIN, PLAIN)
def test_texts_are_equal_where_values_are(one, other):
    assert (canonical(one) == canonical(other)) == same(one, other)
