"""AppSync fields: single, batched, methods of an object; authorization by the request's token."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, computed_field, field_serializer

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    BatchInvoker,
    Forbidden,
    NotFound,
    ScopeAccessControl,
    Servey,
    Settings,
    action,
    create_app,
)
from servey.aws import build_handler
from servey.aws.appsync import FieldFailed
from servey.aws.calls import CallFailed
from servey.sls.appsync import appsync_resources
from servey.testing import client, token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"


class Kind(Enum):
    even = "e"
    odd = "o"


ASKED: list[list[int]] = []


async def halves_of(values: list[int]) -> list[Any]:
    ASKED.append(values)
    return [ValueError("negative") if value < 0 else value // 2 for value in values]


@dataclass
class NumberStats:
    the_value: int
    kind: Kind = Kind.even

    @action
    async def factorial_of(self, plus: int = 0) -> int:
        if self.the_value < 0:
            raise NotFound("no factorial")
        made = 1
        for number in range(2, self.the_value + 1):
            made *= number
        return made + plus

    @action(
        batch_invoker=BatchInvoker(halves_of, max_batch_size=2, arg_extractor=lambda stats: [stats.the_value]),
        access_control=ScopeAccessControl("root"),
    )
    async def half_of(self) -> int:
        raise AssertionError("the batch is asked")


@action(triggers=WEB_GET)
def number_stats(some_value: int) -> NumberStats:
    return NumberStats(some_value, Kind.odd if some_value % 2 else Kind.even)


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def guarded(authorization: Authorization) -> str | None:
    return authorization.subject_id


@action(triggers=WEB_GET)
async def fails() -> int:
    raise RuntimeError("secret text")


@pytest.fixture(scope="module")
def app():
    return create_app(actions=[number_stats, guarded, fails], settings=Settings(env="prod", jwt_secret_key=SECRET))


@pytest.fixture(scope="module")
def handler(app):
    handler = build_handler(app)
    yield handler
    handler.close()


def event(parent: str, field: str, *, source: Any = None, token: str | None = None, **arguments: Any) -> dict[str, Any]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    info = {"parentTypeName": parent, "fieldName": field, "variables": {}, "selectionSetList": []}
    return {"arguments": arguments, "identity": None, "source": source, "request": {"headers": headers}, "info": info}


def test_a_field_of_the_query(handler):
    assert handler(event("Query", "numberStats", someValue=3), None) == {"theValue": 3, "kind": "odd"}


def test_a_field_of_an_object_gets_its_source(handler):
    source = handler(event("Query", "numberStats", someValue=4), None)
    source = {**source, "kind": "e"}
    assert handler(event("NumberStats", "factorialOf", source=source, plus=1), None) == 25


def test_a_batch_gives_one_answer_for_each_in_their_order(handler):
    batch = [event("NumberStats", "factorialOf", source={"theValue": value}) for value in (3, -1, 4, 0)]
    assert handler(batch, None) == [
        {"data": 6},
        {"errorMessage": "no factorial", "errorType": "not_found"},
        {"data": 24},
        {"data": 1},
    ]


def test_what_one_caller_asks_of_a_batch_invoker_is_asked_in_one_go(app, handler):
    ASKED.clear()
    token = token_for(app, Authorization("ada", frozenset({"root"})))
    values = (3, -1, 4, 0, "three")
    batch = [event("NumberStats", "halfOf", source={"theValue": value}, token=token) for value in values]
    anonymous = event("NumberStats", "halfOf", source={"theValue": 8})
    missing = event("NumberStats", "nothing", source={"theValue": 8})
    other = event("NumberStats", "factorialOf", source={"theValue": 3})
    answers = handler([anonymous, *batch, missing, other], None)
    assert [answer.get("data", answer.get("errorType")) for answer in answers] == [
        *("unauthenticated", 1, "internal", 2, 0, "invalid_params", "not_found", 6),
    ]
    assert ASKED == [[3, -1], [4, 0]]


def test_a_batch_of_one_is_a_batch(handler):
    assert handler([event("NumberStats", "factorialOf", source={"theValue": 3})], None) == [{"data": 6}]


def test_the_access_rule_holds(app, handler):
    with pytest.raises(FieldFailed, match="unauthenticated"):
        handler(event("Mutation", "guarded"), None)
    with pytest.raises(FieldFailed, match="forbidden"):
        handler(event("Mutation", "guarded", token=token_for(app, Authorization("ada"))), None)
    with pytest.raises(FieldFailed, match="unauthenticated"):
        handler(event("Mutation", "guarded", token="not.a.token"), None)
    boss = token_for(app, Authorization("boss", frozenset({"root"})))
    assert handler(event("Mutation", "guarded", token=boss), None) == "boss"


def test_the_schemes_of_the_settings_hold():
    app = create_app(actions=[guarded], settings=Settings(env="prod", jwt_secret_key=SECRET, token_schemes=("Token",)))
    handler = build_handler(app)
    boss = token_for(app, Authorization("boss", frozenset({"root"})))
    asked = event("Mutation", "guarded")
    assert handler(asked | {"request": {"headers": {"authorization": f"token {boss}"}}}, None) == "boss"
    with pytest.raises(FieldFailed, match="unauthenticated"):
        handler(asked | {"request": {"headers": {"authorization": f"Bearer {boss}"}}}, None)
    handler.close()


@pytest.mark.parametrize(
    ("parent", "field", "said"),
    [
        ("Query", "nothing", r"No action answers the field 'Query.nothing' \(not_found\)"),
        ("Other", "factorialOf", "not_found"),
        ("Query", "factorialOf", "not_found"),
        ("Query", "numberStats", "some_value: Field required"),
        ("Query", "fails", r"Internal Server Error \(internal\)"),
    ],
)
def test_what_fails_says_why(handler, parent, field, said):
    with pytest.raises(FieldFailed, match=said):
        handler(event(parent, field), None)


def test_the_dependencies_of_a_batched_method_guard_its_batch():
    def refuse() -> None:
        raise Forbidden("not today")

    @dataclass
    class Wall:
        number: int

        @action(batch_invoker=BatchInvoker(halves_of, arg_extractor=lambda wall: [wall.number]))
        async def half(self, guard: Annotated[None, Depends(refuse)]) -> int:
            raise AssertionError("the batch is asked")

    @action(triggers=WEB_GET)
    def a_wall() -> Wall:
        return Wall(2)

    ASKED.clear()
    handler = build_handler(create_app(actions=[a_wall], settings=Settings(env="dev")))
    info = {"parentTypeName": "Wall", "fieldName": "half"}
    events = [{"arguments": {}, "source": {"number": number}, "info": info} for number in (2, 4)]
    assert handler(events, None) == [{"errorMessage": "not today", "errorType": "forbidden"}] * 2
    assert ASKED == []
    handler.close()


def test_equal_keys_of_a_batch_are_loaded_once(app, handler):
    ASKED.clear()
    token = token_for(app, Authorization("ada", frozenset({"root"})))
    batch = [event("NumberStats", "halfOf", source={"theValue": value}, token=token) for value in (6, 6, -1, 6, 8, -1)]
    answers = [answer.get("data", answer.get("errorType")) for answer in handler(batch, None)]
    assert answers == [3, 3, "internal", 3, 4, "internal"]
    assert ASKED == [[6, -1], [8]]


class Account(BaseModel):
    name: str
    password_hash: str = Field(exclude=True)


class Folder(BaseModel):
    name: str
    path: str = Field(exclude=True)

    @action
    async def depth(self) -> int:
        return self.path.count("/")


@action(triggers=WEB_GET)
async def account() -> Account:
    return Account(name="ada", password_hash="x")


@action(triggers=WEB_GET)
async def folder() -> Folder:
    return Folder(name="c", path="/a/b/c")


def test_excluded_fields_are_returned_only_to_methods_of_their_object():
    handler = build_handler(create_app(actions=[account, folder], settings=Settings(env="dev")))
    assert handler(event("Query", "account"), None) == {"name": "ada"}
    source = handler(event("Query", "folder"), None)
    assert handler(event("Folder", "depth", source=source), None) == 3
    handler.close()


Masked = Annotated[str, PlainSerializer(lambda text: "*" * len(text))]


class Card(BaseModel):
    holder: str = Field(alias="nameOnCard")
    number: str
    pin: Masked

    @field_serializer("number")
    def last_two(self, number: str) -> str:
        return number[-2:]

    @action
    async def is_valid(self) -> bool:
        return (self.holder, self.number, self.pin) == ("Ada", "1234", "99")


class Gold(Card):
    secret_limit: int = 9


@dataclass
class Note:
    text_of: Masked
    hidden: Annotated[str, Field(exclude=True)] = "hidden"


@action(triggers=WEB_GET)
async def cards(first: Card | None = None) -> list[Card]:
    return [first or Gold.model_validate({"nameOnCard": "Ada", "number": "1234", "pin": "99"})]


@action(triggers=WEB_GET)
async def note() -> Note:
    return Note("raw")


@action(triggers=WEB_GET)
async def masked() -> Masked:
    return "raw"


@action(triggers=WEB_GET, hidden="graphql")
async def inner() -> str:
    return "not in the schema"


def test_serializers_hold_as_on_every_transport():
    handler = build_handler(create_app(actions=[cards, note, masked, inner], settings=Settings(env="dev")))
    (card,) = handler(event("Query", "cards"), None)
    assert {name: value for name, value in card.items() if name != "_servey"} == {
        "nameOnCard": "Ada", "number": "34", "pin": "**",
    }  # fmt: skip
    assert handler(event("Card", "isValid", source=card), None) is True
    given = {"nameOnCard": "Bob", "number": "5678", "pin": "00"}
    assert handler(event("Query", "cards", first=given), None)[0]["number"] == "78"
    assert handler(event("Query", "note"), None) == {"textOf": "***"}
    assert handler(event("Query", "masked"), None) == "***"
    with pytest.raises(FieldFailed, match="not_found"):
        handler(event("Query", "inner"), None)
    handler.close()


@pytest.mark.parametrize("around", ["the app", "its host"])
def test_no_field_and_no_websocket_gets_past_the_dependencies_of_the_app(around, caplog):
    def refuse() -> None:
        raise Forbidden("no key")

    guards = [Depends(refuse)]
    settings = Settings(env="dev", appsync=True, websocket_endpoint="https://a", connection_table="t")
    host = FastAPI(dependencies=guards)
    app = Servey(actions=[masked], settings=settings, dependencies=guards if around == "the app" else [])
    if around == "its host":
        app.install(host)
    handler = build_handler(app, host=host if around == "its host" else None)
    for asked in (event("Query", "masked"), [event("Query", "masked")]):
        with pytest.raises(CallFailed, match=r"AppSync .* cannot run them; .* \(forbidden\)"):
            handler(asked, None)
    connect = {"requestContext": {"connectionId": "c", "eventType": "CONNECT"}, "headers": {}}
    assert handler(connect, None) == {"statusCode": 403}
    assert caplog.text.count("was refused") == 3
    handler.close()
    problems: list[str] = []
    appsync_resources(app, problems)
    assert any("cannot run them" in each for each in problems) == (around == "the app")


class Level(IntEnum):
    low = 1
    high = 2


class Everything(BaseModel):
    model_config = ConfigDict(use_enum_values=True)
    level: Level = Level.high
    price: Decimal = Decimal("1.10")
    when: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    time_of_day: time = time(1, 2, tzinfo=UTC)
    takes: timedelta = timedelta(hours=1)
    number: UUID = UUID(int=5)
    wire_name: int = Field(3, serialization_alias="shownName")
    secret: SecretStr = SecretStr("hidden")
    numbers: set[int] = {1}
    anything: dict[str, Any] = {"snake_key": Level.low}
    below: list["Everything"] = []

    @computed_field
    def doubled(self) -> int:
        return 2 * self.wire_name


class Pair(NamedTuple):
    first_one: int
    second_one: Level | None = None


@action(triggers=WEB_GET)
async def everything() -> Everything:
    return Everything(below=[Everything(level=1)])


@action(triggers=WEB_GET)
async def either() -> list[Pair | Note]:
    return [Pair(1, Level.low), Note("raw"), Pair(2)]


def test_results_are_those_of_the_graphql_endpoint():
    members = "level price when timeOfDay takes number shownName secret numbers anything doubled"
    queries = {
        "everything": f"{{ {members} below {{ {members} }} }}",
        "either": "{ ... on Pair { firstOne secondOne } ... on Note { textOf } }",
    }
    app = create_app(actions=[everything, either], settings=Settings(env="dev"))
    handler = build_handler(app)
    with client(app) as http:
        for name, query in queries.items():
            answer = http.post("/graphql", json={"query": f"{{ {name} {query} }}"}).json()
            assert "errors" not in answer
            shown = handler(event("Query", name), None)
            if name == "everything":
                (below,) = shown["below"]
                assert below.pop("below") == []
            assert shown == answer["data"][name]
    handler.close()
