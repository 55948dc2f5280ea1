"""Every serializer that a type declares is applied, as in FastAPI, wherever in the type it is declared."""

import dataclasses
import warnings
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import pytest
from fastapi import FastAPI
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    RootModel,
    SecretStr,
    SerializeAsAny,
    WrapSerializer,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from servey import WEB_GET, Settings, action, create_app
from servey.testing import client

T = TypeVar("T")


class User(BaseModel):
    name: str
    password: str


class Status(Enum):
    on = "secret"


class Public(BaseModel):
    name: str


class Admin(Public):
    password: str = "secret"


def only_name(user: Any) -> str:
    return user.name if user else "nobody"


Masked = Annotated[User, PlainSerializer(only_name)]
ADA = User(name="ada", password="secret")


class OnField(BaseModel):
    author: User

    @field_serializer("author")
    def mask(self, author: User) -> str:
        return author.name


class OnEveryField(BaseModel):
    author: User
    other: User

    @field_serializer("*")
    def mask(self, author: User) -> str:
        return author.name


class OnEnum(BaseModel):
    status: Status

    @field_serializer("status")
    def by_name(self, status: Status) -> str:
        return status.name


class InheritsField(OnField):
    more: int = 1


class OnModel(BaseModel):
    name: str
    password: str

    @model_serializer
    def mask(self) -> dict[str, str]:
        return {"name": self.name}


class WrapsModel(BaseModel):
    name: str
    password: str

    @model_serializer(mode="wrap")
    def mask(self, handler: Any) -> Any:
        found = handler(self)
        del found["password"]
        return found


with warnings.catch_warnings(action="ignore"):  # deprecated, and still in use

    class Encoders(BaseModel):
        model_config = ConfigDict(json_encoders={User: only_name})
        author: User
        first: User


class Excludes(BaseModel):
    name: str
    password: str = Field(exclude=True)


class ExcludesIf(BaseModel):
    name: str
    password: str = Field(exclude_if=lambda value: value == "secret")


class Renames(BaseModel):
    name: str = Field(serialization_alias="shown")


class Computes(BaseModel):
    name: str

    @computed_field
    def shout(self) -> str:
        return self.name.upper()


class Remembers(BaseModel):
    name: str

    @cached_property
    def password(self) -> str:
        return "secret"


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class OwnSchema(BaseModel):
    name: str
    password: str

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return core_schema.no_info_after_validator_function(
            lambda value: value, schema, serialization=core_schema.plain_serializer_function_ser_schema(only_name)
        )


class Marked:
    """An annotation that adds a serializer to the schema of its type."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return {**handler(source), "serialization": core_schema.plain_serializer_function_ser_schema(only_name)}  # type: ignore[misc]


class Text(str):
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.str_schema(
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: "masked")
        )


class HoldsText(BaseModel):
    text: Text


class Box(BaseModel, Generic[T]):
    item: T


class Tree(BaseModel):
    owner: Masked
    below: "list[Tree]" = []


class Deep(BaseModel):
    fields: list[OnField]
    by_name: dict[str, Masked]
    maybe: Masked | None
    models: list[OnModel]
    nested: list[list[Masked]]
    keys: dict[Annotated[str, PlainSerializer(lambda key: "masked")], int]


class Any_(BaseModel):
    user: SerializeAsAny[Public]


class Hides(BaseModel):
    token: SecretStr
    text: Annotated[str, PlainSerializer(lambda text: "***")]
    number: Annotated[int, WrapSerializer(lambda number, handler: -1)]
    maybe: Annotated[str | None, PlainSerializer(lambda text: "***")]
    many: Annotated[list[str], PlainSerializer(len)]


@dataclasses.dataclass
class Record:
    author: Masked


class Typed(TypedDict):
    author: Masked


class Named(NamedTuple):
    author: Masked


Root = RootModel[Masked]

RESULTS: dict[str, tuple[Any, Any]] = {
    "a field": (OnField, OnField(author=ADA)),
    "a list of it": (list[OnField], [OnField(author=ADA)]),
    "None or it": (OnField | None, OnField(author=ADA)),
    "every field": (OnEveryField, OnEveryField(author=ADA, other=ADA)),
    "an enum": (OnEnum, OnEnum(status=Status.on)),
    "an inherited one": (InheritsField, InheritsField(author=ADA)),
    "a model": (OnModel, OnModel(name="ada", password="secret")),
    "a list of models": (list[OnModel], [OnModel(name="ada", password="secret")]),
    "a wrapped model": (WrapsModel, WrapsModel(name="ada", password="secret")),
    "json_encoders": (Encoders, Encoders(author=ADA, first=ADA)),
    "exclude": (Excludes, Excludes(name="ada", password="secret")),
    "exclude_if": (ExcludesIf, ExcludesIf(name="ada", password="secret")),
    "an alias": (Renames, Renames(name="ada")),
    "a computed field": (Computes, Computes(name="ada")),
    "extra fields": (Extra, Extra(name="ada", more=1)),
    "a schema of its own": (OwnSchema, OwnSchema(name="ada", password="secret")),
    "an annotation": (Annotated[User, Marked()], ADA),
    "a list of annotated": (list[Annotated[User, Marked()]], [ADA]),
    "a scalar type": (Text, Text("secret")),
    "a field of a scalar type": (HoldsText, HoldsText(text="secret")),
    "a plain serializer": (Masked, ADA),
    "a plain serializer on None": (Annotated[User | None, PlainSerializer(only_name)], None),
    "a plain serializer on a list": (Annotated[list[User], PlainSerializer(len)], [ADA]),
    "a wrap serializer": (Annotated[User, WrapSerializer(lambda user, handler: {"user": user.name})], ADA),
    "a generic": (Box[Masked], Box[Masked](item=ADA)),
    "a recursive model": (Tree, Tree(owner=ADA, below=[Tree(owner=ADA)])),
    "deep inside": (
        Deep,
        Deep(
            fields=[OnField(author=ADA)],
            by_name={"a": ADA},
            maybe=ADA,
            models=[OnModel(name="ada", password="secret")],
            nested=[[ADA]],
            keys={"secret": 1},
        ),
    ),
    "any": (Any_, Any_(user=Public(name="ada"))),
    "scalars": (Hides, Hides(token="secret", text="secret", number=7, maybe="secret", many=["secret"])),
    "a subclass instance": (Public, Admin(name="ada")),
    "a list of subclass instances": (list[Public], [Public(name="bob"), Admin(name="ada")]),
    "a subclass in a field": (Box[Public], Box[Public](item=Admin(name="ada"))),
    "a dataclass": (Record, Record(author=ADA)),
    "a typed dict": (Typed, {"author": ADA}),
    "a named tuple": (Named, Named(author=ADA)),
    "a root model": (Root, Root(ADA)),
    "a list of root models": (list[Root], [Root(ADA)]),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_serializer_is_applied_as_in_fastapi(name):
    type_, value = RESULTS[name]

    async def it() -> Any:
        return value

    it.__annotations__["return"] = type_
    twin = FastAPI()
    twin.get("/actions/it")(it)
    with client(twin) as http:
        wanted = http.get("/actions/it")
    with client(create_app(actions=[action(triggers=WEB_GET)(it)], settings=Settings(env="dev"))) as http:
        got = http.get("/actions/it")
    assert wanted.status_code == got.status_code == 200
    assert b"secret" not in wanted.content
    assert got.content == wanted.content


def test_a_cached_attribute_is_not_sent():
    value = Remembers(name="ada")
    assert value.password == "secret"
    partial = Public.model_construct()
    partial.__dict__["password"] = "secret"  # as many fields as declared, but another one

    async def remembers() -> Remembers:
        return value

    async def constructed() -> list[Public]:
        return [partial]

    app = create_app(actions=[action(triggers=WEB_GET)(each) for each in (remembers, constructed)])
    with client(app) as http:
        assert http.get("/actions/remembers").json() == {"name": "ada"}
        assert b"secret" not in http.get("/actions/constructed").content
