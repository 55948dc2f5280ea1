"""What a job's action receives is what its caller sent: the same as in a direct call, for every way of making a job."""

import time
from collections.abc import Callable
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

import pytest
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

from servey import WEB_POST, Context, ServeyError, Settings, action, background_action_channel, create_app
from servey.core.errors import EventError, InvalidParams
from servey.testing import client

DEV = Settings(env="dev", job_grace=2)


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
SEEN: list[Any] = []


def action_of(type_: Any) -> Callable[..., Any]:
    async def take(value: Any) -> None:
        SEEN.append(value)

    take.__annotations__["value"] = type_
    return action(take, triggers=WEB_POST)


def shown(value: Any) -> str:
    """Enough of a value to compare it with another one, secrets too."""
    secret = getattr(value, "get_secret_value", None)
    if secret is not None:
        return f"{type(value).__name__}({secret()!r})"
    if isinstance(value, BaseModel):
        return f"{type(value).__name__}({ {name: shown(each) for name, each in vars(value).items()} })"
    return f"{type(value).__name__}: {value!r}"


def seen_after(call: Callable[[], object]) -> Any:
    SEEN.clear()
    call()
    end = time.monotonic() + 5
    while not SEEN:
        assert time.monotonic() < end, "the action was not called"
        time.sleep(0.002)
    return SEEN[0]


@pytest.mark.parametrize(("type_", "sent", "made"), TYPES, ids=[f"{n}-{each[0]}"[:40] for n, each in enumerate(TYPES)])
def test_an_action_receives_the_same_in_a_job_as_in_a_direct_call(type_, sent, made):
    take = action_of(type_)
    channel = background_action_channel(take)
    given: list[Any] = []

    @action(triggers=WEB_POST)
    async def enqueues(context: Context) -> str:
        return await context.enqueue(take, {"value": given[0]})

    @action(triggers=WEB_POST)
    async def publishes() -> None:
        await channel.publish(given[0])

    def ok(answer: Any) -> None:
        assert answer.is_success, answer.text

    with client(create_app(actions=[take, enqueues, publishes], channels=[channel], settings=DEV)) as http:
        direct = shown(seen_after(lambda: ok(http.post("/actions/take", json={"value": sent}))))
        later = {"Prefer": "respond-async"}
        assert shown(seen_after(lambda: ok(http.post("/actions/take", json={"value": sent}, headers=later)))) == direct
        given[:] = [sent]
        assert shown(seen_after(lambda: ok(http.post("/actions/enqueues")))) == direct
        assert shown(seen_after(lambda: ok(http.post("/actions/publishes")))) == direct
        if made is not None:
            given[:] = [made]
            for path in ("/actions/enqueues", "/actions/publishes"):
                assert shown(seen_after(lambda path=path: ok(http.post(path)))) == shown(made)


class Odd:
    """A class that pydantic knows nothing of."""


class OddModel(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    odd: Any


def _seen_model() -> Secretive:
    made = Secretive(n=1)
    made._seen = 5
    return made


REFUSED: list[tuple[Any, Any, str]] = [
    (Priced, Priced(cents=5), "Priced would not be equal"),
    (Account, Account(password="p"), "Account would not be equal"),
    (Gross, Gross(1.5), "Gross would not be equal"),
    (Greeting, Greeting("Ada", "Hello"), "would not validate"),
    (Secretive, _seen_model(), "Secretive would not be equal"),
    (Any, Odd(), "a Odd cannot be stored in a job"),
    (OddModel, OddModel(odd=[Odd()]), "a Odd cannot be stored"),
    (Any, Color.RED, "Color would not be equal"),
    (Any, Point(1), "Point would not be equal"),
    (BaseModel, Cat(lives=9), "Cat would not be equal"),
    (str, "half of \ud83d", "not valid"),
    (list[Any], [iter([])], "cannot be stored"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("type_", "value", "problem"), REFUSED, ids=[f"{n}" for n in range(len(REFUSED))])
async def test_a_value_that_would_not_arrive_equal_is_refused_at_once(type_, value, problem):
    take = action_of(type_)
    channel = background_action_channel(take)
    made = create_app(actions=[take], channels=[channel], settings=DEV)
    async with made.router.lifespan_context(made), made.runtime.context("test") as context:
        with pytest.raises(InvalidParams, match=problem) as caught:
            await context.enqueue(take, {"value": value})
        assert str(caught.value).startswith("value")
        with pytest.raises(EventError, match=problem):
            channel.publish(value)
        assert await made.runtime.queue.jobs() == []


@pytest.mark.anyio
async def test_a_value_that_contains_itself_is_refused():
    take = action_of(Any)
    loop: list[Any] = [b"x"]
    loop.append(loop)
    made = create_app(actions=[take], settings=DEV)
    async with made.router.lifespan_context(made), made.runtime.context("test") as context:
        with pytest.raises(InvalidParams, match="nested too deeply"):
            await context.enqueue(take, {"value": loop})


def test_defaults_that_are_made_anew_each_time_are_no_difference():
    take = action_of(Made)
    given = {"at": BERLIN}

    @action(triggers=WEB_POST)
    async def enqueues(context: Context) -> str:
        return await context.enqueue(take, {"value": given})

    with client(create_app(actions=[take, enqueues], settings=DEV)) as http:
        assert seen_after(lambda: http.post("/actions/enqueues")).at == BERLIN


@pytest.mark.anyio
async def test_what_changes_after_it_was_enqueued_does_not_change_the_job():
    take = action_of(dict[str, list[int]])
    made = create_app(actions=[take], settings=DEV)
    given = {"a": [1]}
    async with made.router.lifespan_context(made), made.runtime.context("test") as context:
        job_id = await context.enqueue(take, {"value": given}, delay=60)
        given["a"].append(2)
        assert (await made.runtime.queue.state(job_id)).job.params == {"value": {"a": [1]}}


@pytest.mark.anyio
async def test_parameters_that_the_action_does_not_have_are_not_stored():
    take = action_of(int)
    made = create_app(actions=[take], settings=DEV)
    async with made.router.lifespan_context(made), made.runtime.context("test") as context:
        job_id = await context.enqueue(take, {"value": 1, "password": Odd()}, delay=60)
        assert (await made.runtime.queue.state(job_id)).job.params == {"value": 1}
        assert "value" not in repr((await made.runtime.queue.state(job_id)).job)


@pytest.mark.anyio
@pytest.mark.parametrize("delay", [float("nan"), float("inf"), -1, -0.001, "5", True, None, 1e12])
async def test_a_delay_that_can_not_be(delay):
    take = action_of(int)
    made = create_app(actions=[take], settings=DEV)
    async with made.router.lifespan_context(made), made.runtime.context("test") as context:
        with pytest.raises(ServeyError, match="the delay of a job is .*; use a number of seconds, 0 or more"):
            context.enqueue(take, {"value": 1}, delay=delay)
