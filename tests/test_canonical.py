"""The text of a value: the same for what is the same, another one for everything else."""

import datetime as dt
import re
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import ip_address
from itertools import combinations
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, SecretBytes, SecretStr, field_serializer

from servey.canonical import NotPlainError, canonical
from tests.serving import run


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
def test_equal_values_have_one_text(one, other):
    assert canonical(one) == canonical(other)


def test_a_kind_of_dict_is_its_own():
    assert canonical(OrderedDict(a=1)) != canonical({"a": 1})


@pytest.mark.parametrize("value", [object(), open, lambda: 1, [object()], {"a": object()}, Point(object()), iter([])])
def test_what_has_none(value):
    with pytest.raises(NotPlainError, match="is no plain value"):
        canonical(value)


def test_it_is_the_same_in_every_process():
    program = "from servey.canonical import canonical; print(canonical({'a': {'x', 'y', 'z'}, 'b': 1.5}))"
    assert len({run("-c", program, PYTHONHASHSEED=seed).stdout for seed in ("1", "2", "3")}) == 1


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def same(one: object, other: object) -> bool:
    """Equality that tells 1 from True and 1.0, and 0.0 from -0.0."""
    return repr(one) == repr(other)


def in_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return type(value)(map(in_order, value)) if isinstance(value, list | tuple) else value


@given(PLAIN, PLAIN)
def test_texts_are_equal_where_values_are(one, other):
    assert (canonical(one) == canonical(other)) == same(in_order(one), in_order(other))
