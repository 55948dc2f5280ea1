"""The types of `shop`, and the record of what its actions saw."""

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

EVENTS: list[str] = []
VARIABLE: ContextVar[str] = ContextVar("differential_variable", default="unset")


def saw(what: str, *values: Any) -> None:
    EVENTS.append(f"{what} {values!r}")


class Size(Enum):
    small = "s"
    large = "l"


class Level(IntEnum):
    low = 1
    high = 2


class Point(BaseModel):
    x: int
    label: str = "none"


@dataclass
class Money:
    amount: Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Line(BaseModel):
    sku: str = Field(max_length=8)
    quantity: int = Field(ge=1)
    price: float = 0


class Order(BaseModel):
    customer: str
    lines: list[Line]
    due: date | None = None
    size: Size = Size.small
    tags: dict[str, int] = {}


class Plain(BaseModel):
    id: int
    name: str
    at: datetime
    active: bool = True
    note: str | None = None
    sizes: list[Size] = []
    point: Point | None = None


class Secret(Plain):
    password: str = "secret"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    number: int


class Careful(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def told(cls, value: int) -> int:
        saw("validator", value)
        if value == 13:
            raise ValueError("unlucky")
        if value == 14:
            raise RuntimeError("broken validator")
        return value


class Named(TypedDict):
    first: str
    last: str


def even(value: int) -> int:
    if value % 2:
        raise ValueError("odd")
    return value
