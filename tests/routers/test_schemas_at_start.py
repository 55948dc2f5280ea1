"""A type whose JSON schema is not generated at start has one, and a query string can contain what is not checked there."""

import dataclasses
import datetime as dt
import enum
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter, WithJsonSchema
from typing_extensions import TypedDict

from servey import WEB_GET, WEB_POST, ConfigError, action
from servey.compat.json_schema import json_schema_of, surely_has_schema
from tests.graphql.graphql_client import app_of


class Color(enum.Enum):
    red = "r"


class BadEnum(enum.Enum):
    red = "r"

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        raise AssertionError("it is asked")


class Line(BaseModel):
    sku: str = Field("x", description="Text")
    when: dt.datetime | None = None
    color: Color = Field(Color.red)


class Order(BaseModel):
    lines: list[Line]
    parent: "Order | None" = None
    kind: Literal["a", "b"] = "a"


class Own(BaseModel):
    id: int

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        raise AssertionError("it is asked")


def extra(schema: dict[str, Any]) -> None:
    raise AssertionError("it is asked")


class Extra(BaseModel):
    model_config = ConfigDict(json_schema_extra=extra)
    id: int


@dataclasses.dataclass
class Point:
    x: float
    tags: list[str] = dataclasses.field(default_factory=list)


class Keys(TypedDict):
    id: int


class Stranger:
    pass


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    inner: list[Stranger]


SURE = [
    str,
    int,
    float,
    bool,
    None,
    dt.date,
    dt.timedelta,
    list[int | None],
    Color,
    Literal["a", 1],
    list[list[str]],
    Keys,
    Line,
    Order,
    Point,
]
UNSURE = [
    Own, Extra, BadEnum, Holder, Callable[[int], int], Annotated[int, Field(json_schema_extra=extra)], Stranger,
    Annotated[int, PlainSerializer(lambda value: Stranger())], Annotated[int, WithJsonSchema({"type": 5})],
    Annotated[int, AfterValidator(abs)], list[Own], list[Extra | None], dict[str, Own], int | Own,
]  # fmt: skip


@pytest.mark.parametrize("type_", SURE, ids=range(len(SURE)))
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_a_sure_schema_is_generated(type_, mode):
    adapter = TypeAdapter(type_)
    assert surely_has_schema(adapter.core_schema)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert json_schema_of(adapter, mode)


@pytest.mark.parametrize("type_", UNSURE, ids=range(len(UNSURE)))
def test_what_the_user_takes_part_in_is_not_sure(type_):
    adapter = TypeAdapter(type_, config=ConfigDict(arbitrary_types_allowed=True) if type_ is Stranger else None)
    assert not surely_has_schema(adapter.core_schema)


@pytest.mark.parametrize(
    "annotation", [list[Order], dict[str, int], Point | dict[str, int], list[Point], Holder], ids=str
)
def test_what_a_query_string_cannot_contain_is_an_error_at_start(annotation):
    async def asks(value: Any, number: int) -> str:
        return ""

    asks.__annotations__["value"] = annotation
    with pytest.raises(ConfigError, match="value"):
        app_of(action(triggers=WEB_GET)(asks))


def test_a_result_without_a_json_schema_is_an_error_at_start():
    async def answers() -> Holder: ...

    with pytest.raises(ConfigError, match="cannot be serialized"):
        app_of(action(triggers=WEB_POST)(answers))
