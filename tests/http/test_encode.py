"""The bytes of plain results are pydantic's own, or there are none."""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from random import Random
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, computed_field, field_serializer

from servey.http.encode import encoder_of


class Size(enum.Enum):
    small = "s"
    large = 2


class Part(BaseModel):
    label: str
    number: int = 0


class Whole(BaseModel):
    id: int
    name: str
    at: datetime
    day: date
    uid: UUID
    active: bool = True
    note: str | None = None
    size: Size = Size.small
    sizes: list[Size] = []
    part: Part | None = None
    parts: list[Part] = []
    by_name: dict[str, Part] = Field(default_factory=dict)


class Below(Whole):
    secret: str = "secret"


ZONES = (None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(seconds=3661)))


ALLOWED = (("id", True), ("part", Size.large))
"""What an object holds that nothing has validated, and that is written in another way than pydantic's."""


def made(random: Random) -> Whole:
    part = Part(label=random.choice(("", "a", 'q"\\\u2028\x7f\x00é', "\U0001f600")), number=random.randint(-9, 9))
    return Whole(
        id=random.choice((0, -1, 2**31, 2**62, 2**63, 2**70)),
        name=random.choice(("", "x" * 200, "\n\t\x1f", "ä")),
        at=datetime(
            random.choice((1, 999, 2026, 9999)), 1, 2, 3, 4, 5, random.choice((0, 5, 500000)), random.choice(ZONES)
        ),
        day=date(random.choice((1, 2026)), 12, 31),
        uid=UUID(int=random.getrandbits(128)),
        note=random.choice((None, "n")),
        size=random.choice(list(Size)),
        sizes=random.choices(list(Size), k=random.randint(0, 3)),
        part=random.choice((None, part)),
        parts=[part] * random.randint(0, 2),
        by_name={"k": part},
    )


ODD = (
    None,
    True,
    1,
    1.5,
    1e16,
    float("nan"),
    "text",
    b"bytes",
    [1],
    (1, 2),
    {1},
    {"a": 1},
    {1: 2},
    Size.large,
    Decimal("1.5"),
)
ODD += (timedelta(1), datetime(2026, 1, 1), date(2026, 1, 1), Part(label="x"), object(), "\ud800", range(3))


def spoiled(random: Random, whole: Whole) -> Whole:
    """An object that no one has validated."""
    for name in random.sample(list(Whole.model_fields), random.randint(1, 3)):
        odd = random.choice(ODD)
        if (name, odd) not in ALLOWED:
            whole.__dict__[name] = odd
    return whole


def by_pydantic(adapter: TypeAdapter[Any], value: Any) -> bytes | None:
    try:
        return adapter.serializer.to_json(value, by_alias=True, warnings=False)
    except Exception:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_the_bytes_are_the_same_or_there_are_none(seed):
    random = Random(seed)
    one, many = TypeAdapter(Whole), TypeAdapter(list[Whole])
    encode_one, encode_many = encoder_of(one), encoder_of(many)
    assert encode_one is not None
    assert encode_many is not None
    written = 0
    for number in range(800):
        whole = made(random)
        if number % 2:
            whole = spoiled(random, whole)
        for adapter, encode, value in ((one, encode_one, whole), (many, encode_many, [whole, made(random)])):
            body = encode(value)
            written += body is not None
            assert body in (None, by_pydantic(adapter, value)), value
    assert written > 400


def test_what_is_not_exactly_the_class_is_left_to_pydantic():
    random = Random(1)
    below = Below(**made(random).__dict__)
    more, fewer = made(random), made(random)
    more.__dict__["more"] = 1
    del fewer.__dict__["note"]
    one, many = encoder_of(TypeAdapter(Whole)), encoder_of(TypeAdapter(list[Whole]))
    assert one is not None and many is not None
    for value in (below, more, fewer, {"id": 1}, None, 7):
        assert one(value) is None
        assert many([made(random), value]) is None
    assert many((made(random),)) is None


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (str, "ä", 1),
        (int, 7, True),
        (bool, False, 0),
        (datetime, datetime(2026, 1, 1, tzinfo=UTC), "x"),
        (str | None, None, 1),
    ],
)
def test_single_values(type_, good, bad):
    adapter = TypeAdapter(type_)
    encode = encoder_of(adapter)
    assert encode is not None
    assert encode(good) == by_pydantic(adapter, good)
    assert encode(bad) is None


class Aliased(BaseModel):
    a: int = Field(serialization_alias="b")


class Excluded(BaseModel):
    a: int = Field(exclude=True)


class Computed(BaseModel):
    a: int

    @computed_field
    def b(self) -> int:
        return 1


class Own(BaseModel):
    a: int

    @field_serializer("a")
    def written(self, value: int) -> str:
        return str(value)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Kept(BaseModel):
    a: int

    @cached_property
    def b(self) -> int:
        return 1


class Mixed(BaseModel):
    one: Whole
    other: Below


class Floating(BaseModel):
    a: float = 0


class Counting(BaseModel):
    a: int = False


class Fallback(BaseModel):
    model_config = ConfigDict(revalidate_instances="always")
    a: int


@dataclass
class Record:
    a: int


@pytest.mark.parametrize(
    "type_",
    [
        *(
            Aliased,
            Excluded,
            Computed,
            Own,
            Open,
            Kept,
            Mixed,
            Floating,
            Counting,
            Fallback,
            Record,
            RootModel[int],
            Any,
            float,
        ),
        *(list[str], dict[str, int], int | str, Decimal, timedelta, bytes, tuple[int, str]),
    ],
)
def test_types_that_are_not_plain(type_):
    assert encoder_of(TypeAdapter(type_)) is None
    assert encoder_of(TypeAdapter(list[type_])) is None
