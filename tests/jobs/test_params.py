"""What a job's action receives is what its caller sent: the same as in a direct call, for every way of making a job."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from servey import WEB_POST, Context, ServeyError, Settings, action, background_action_channel, create_app
from servey.core.errors import EventError, InvalidParams
from servey.testing import client
from tests.jobs.param_types import BERLIN, TYPES, Account, Cat, Color, Greeting, Gross, Made, Point, Priced, Secretive

DEV = Settings(env="dev", job_grace=2)

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
