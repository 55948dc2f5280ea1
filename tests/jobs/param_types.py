"""Types of parameters, with values of each."""

from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict


class Login(BaseModel):
    user: str
    password: SecretStr


class Hidden(BaseModel):
    name: str
    token: str = Field(exclude=True)
    dry_run: bool = Field(default=False, exclude=True)


class TwoNames(BaseModel):
    value: int = Field(validation_alias="inValue", serialization_alias="outValue")


class Choices(BaseModel):
    value: int = Field(validation_alias=AliasChoices("one", "other"))


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

    @computed_field
    @property
    def twice(self) -> int:
        return self.width * 2


class Money(BaseModel):
    amount: Decimal

    @field_serializer("amount")
    def shown(self, amount: Decimal) -> str:
        return f"{amount:.2f} EUR"


class Rounded(BaseModel):
    price: Annotated[float, PlainSerializer(lambda price: round(price, 1))]


class Priced(BaseModel):
    cents: int

    @field_validator("cents")
    @classmethod
    def in_cents(cls, euros: int) -> int:
        return euros * 100


class Account(BaseModel):
    password: str

    @field_validator("password")
    @classmethod
    def hashed(cls, text: str) -> str:
        return f"hash({text})"


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int


class Node(BaseModel):
    n: int
    children: list["Node"] = []


class Numbers(RootModel[list[int]]):
    pass


class Made(BaseModel):
    id: UUID = Field(default_factory=uuid4)
    at: datetime


class Secretive(BaseModel):
    n: int
    _seen: int = PrivateAttr(default=0)


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.upper(), populate_by_name=True)
    width: int


@dataclass
class Point:
    x: int
    y: int = 0
    norm: int = field(init=False, default=0)


@dataclass
class Greeting:
    name: str
    greeting: InitVar[str]
    text: str = ""

    def __post_init__(self, greeting: str) -> None:
        self.text = f"{greeting} {self.name}"


@dataclass
class Gross:
    amount: float

    def __post_init__(self) -> None:
        self.amount *= 2


class Pair(NamedTuple):
    a: int
    b: str


class Typed(TypedDict, total=False):
    when: date
    n: int


class Color(Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1


def parse_money(text: Any) -> Decimal:
    amount, _, unit = str(text).partition(" ")
    if unit != "EUR":
        raise ValueError("give EUR")
    return Decimal(amount)


Euros = Annotated[Decimal, BeforeValidator(parse_money)]

Times100 = Annotated[int, AfterValidator(lambda value: value * 100)]

Pet = Annotated[Cat | Dog, Field(discriminator="kind")]

BERLIN = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))

# A type, its input as JSON, and the same as a Python object, or None if Python code passes JSON too.
TYPES: list[tuple[Any, Any, Any]] = [
    (int, 5, None),
    (int, 2**80, None),
    (bool, True, None),
    (float, 1.1, None),
    (str, "grüße \u2028 😀", None),
    (Any, {"$": "bytes", "v": "aGk="}, None),
    (dict[int, str], {"1": "a"}, {1: "a", 2: "b"}),
    (dict[str, Any], {"a": [1, None, {}]}, {"$": 5, "when": BERLIN, "raw": b"\xff"}),
    (SecretStr, "hunter2", SecretStr("hunter2")),
    (SecretBytes, "hunter2", SecretBytes(b"\xff\x00")),
    (bytes, "text", b"\x00\xff"),
    (datetime, "2026-01-01T00:00:00+02:00", BERLIN),
    (datetime, "2026-01-01T00:00:00", datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (date, "2026-01-01", date(2026, 1, 1)),
    (clock, "10:30:00.5", clock(10, 30, tzinfo=UTC)),
    (timedelta, "PT1.5S", timedelta(days=-1, microseconds=3)),
    (Decimal, "1.005", Decimal("1E+400")),
    (UUID, "0e984725-c51c-4bf4-9960-e1c80e27aba0", uuid4()),
    (IPv4Address, "10.0.0.1", IPv4Address("10.0.0.1")),
    (AnyUrl, "https://example.com/a?b=1", AnyUrl("https://example.com/")),
    (PurePosixPath, "a/b", PurePosixPath("a/b")),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [3, 1, 3], {1, 2}),
    (frozenset[date], ["2026-01-01"], frozenset({date(2026, 1, 1)})),
    (Color, "red", Color.RED),
    (Level, 1, Level.LOW),
    (Json[list[int]], "[1, 2]", None),
    (Euros, "5 EUR", None),
    (Times100, 5, None),
    (Login, {"user": "u", "password": "p"}, Login(user="u", password=SecretStr("p"))),
    (Hidden, {"name": "n", "token": "t", "dry_run": True}, Hidden(name="n", token="t", dry_run=True)),
    (TwoNames, {"inValue": 5}, TwoNames(inValue=5)),
    (Choices, {"other": 5}, Choices(one=5)),
    (Strict, {"width": 2}, Strict(width=2)),
    (Money, {"amount": "1.005"}, Money(amount=Decimal("1.005"))),
    (Rounded, {"price": 1.2345}, Rounded(price=1.2345)),
    (Priced, {"cents": 5}, None),
    (Account, {"password": "p"}, None),
    (Extra, {"n": 1, "more": [1]}, Extra(n=1, more=date(2026, 1, 1).isoformat())),
    (Node, {"n": 1, "children": [{"n": 2}]}, Node(n=1, children=[Node(n=2)])),
    (Numbers, [1, 2], Numbers([1, 2])),
    (list[Pet], [{"kind": "dog", "name": "Rex"}], [Dog(name="Rex"), Cat(lives=9)]),
    (Camel, {"WIDTH": 3}, Camel(width=3)),
    (Point, {"x": 1}, Point(1, 2)),
    (Greeting, {"name": "Ada", "greeting": "Hello"}, None),
    (Gross, {"amount": 1.5}, None),
    (Pair, [1, "b"], Pair(1, "b")),
    (Typed, {"when": "2026-01-01"}, {"when": date(2026, 1, 1), "n": 2}),
    (int | str | None, None, None),
]
