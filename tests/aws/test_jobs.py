"""Jobs in SQS: partial batch failures, deduplication, delays, retries and dead jobs."""

import asyncio
import json
import threading
import time
from contextlib import closing
from typing import Any

import pytest
from pydantic_core import to_json

from servey import (
    WEB_POST,
    Authorization,
    Context,
    NotFound,
    Retry,
    Settings,
    action,
    background_action_channel,
    create_app,
)
from servey.aws import build_handler
from servey.aws.records import run_records
from servey.core.errors import ServeyError
from servey.core.queues import Job
from servey.jobs.perform import perform_job
from servey.testing import token_for
from tests.aws.conftest import SETTINGS
from tests.aws.fakes import record
from tests.aws.gateways import GATEWAYS, Request, answer_of

DONE: list[Any] = []
SECRET = "a-secret-of-more-than-32-bytes-for-tests"


@action(retry=Retry(max_tries=3, backoff=60, factor=2))
def resize(width: int) -> int:
    DONE.append(width)
    if width < 0:
        raise RuntimeError("what went wrong")
    if width == 0:
        raise NotFound("no such picture")
    return width


@action(retry=Retry(max_tries=1))
def resize_once(width: int) -> int:
    return resize(width)


resized = background_action_channel(resize, name="resized", delay=10)


@action(triggers=WEB_POST)
async def publish(width: int) -> None:
    await resized.publish(width)


@action(triggers=WEB_POST)
async def later(context: Context, width: int, delay: float = 0, key: str | None = None, once: bool = False) -> str:
    return await context.enqueue(resize_once if once else resize, {"width": width}, delay=delay, key=key)


@action(triggers=WEB_POST)
def later_in_a_thread(context: Context, width: int) -> str | None:
    return context.enqueue(resize, {"width": width}).value


@action
async def tick() -> int:
    DONE.append("tick")
    return len(DONE)


@pytest.fixture
def app(aws):
    DONE.clear()
    settings = Settings(env="prod", jwt_secret_key=SECRET, **SETTINGS)
    return create_app(
        actions=[resize, resize_once, publish, later, later_in_a_thread, tick], channels=[resized], settings=settings
    )


@pytest.fixture
def handler(app):
    handler = build_handler(app)
    yield handler
    handler.close()


def post(handler: Any, path: str, params: dict[str, Any], *headers: tuple[str, str]) -> Any:
    content_type = ("content-type", "application/json")
    request = Request("POST", path, (content_type, *headers), json.dumps(params).encode())
    return answer_of(handler(GATEWAYS["HTTP API"](request), None))


def get(handler: Any, path: str, *headers: tuple[str, str]) -> Any:
    answer = answer_of(handler(GATEWAYS["HTTP API"](Request("GET", path, headers)), None))
    return answer.status, json.loads(answer.body)


def run(handler: Any, *records: Any) -> list[str]:
    return [each["itemIdentifier"] for each in handler({"Records": list(records)}, None)["batchItemFailures"]]


def test_an_event_becomes_a_message_and_the_message_a_call(aws, handler):
    assert post(handler, "/actions/publish", {"width": 5}).status == 200
    (sent,) = aws.sqs.sent
    assert (sent["queue"], sent["delay"]) == (SETTINGS["queue_url"], 10)
    assert DONE == []
    assert run(handler, aws.sqs.record()) == []
    assert DONE == [5]


@pytest.mark.parametrize("path", ["/actions/later", "/actions/later-in-a-thread"])
def test_a_jobs_enqueuer_can_follow_it(aws, app, handler, path):
    ada, eve = (("authorization", f"Bearer {token_for(app, Authorization(name))}") for name in ("ada", "eve"))
    job_id = json.loads(post(handler, path, {"width": 5}, ada).body)
    assert get(handler, f"/jobs/{job_id}", ada)[1]["state"] == "queued"
    run(handler, aws.sqs.record())
    status, state = get(handler, f"/jobs/{job_id}", ada)
    assert (status, state["state"], state["result"]) == (200, "done", 5)
    assert get(handler, f"/jobs/{job_id}", eve)[0] == 404
    assert get(handler, "/jobs/nothing", ada)[0] == 404


def test_each_message_fails_for_itself(aws, handler):
    for width in (1, -1, 2, -2, 3, -3, 4, 5, 6, 7):
        post(handler, "/actions/later", {"width": width})
    records = [aws.sqs.record(index) for index in range(10)]
    assert run(handler, *records) == ["message-1", "message-3", "message-5"]
    assert sorted(DONE) == [-3, -2, -1, 1, 2, 3, 4, 5, 6, 7]


def test_a_message_that_comes_twice_is_run_once(aws, handler):
    post(handler, "/actions/later", {"width": 5})
    assert run(handler, aws.sqs.record(), aws.sqs.record()) in ([], ["message-0"])
    assert run(handler, aws.sqs.record(tries=2)) == []
    assert DONE == [5]


def test_a_failure_waits_for_as_long_as_its_retry_says_and_is_given_up_in_the_end(aws, handler):
    job_id = json.loads(post(handler, "/actions/later", {"width": -1}).body)
    assert run(handler, aws.sqs.record(0, tries=1)) == ["message-0"]
    assert run(handler, aws.sqs.record(0, tries=2)) == ["message-0"]
    assert get(handler, f"/jobs/{job_id}")[1]["state"] == "queued"
    waits = [seconds for _, seconds in aws.sqs.hidden]
    assert 54 <= waits[0] <= 66
    assert 108 <= waits[1] <= 132
    assert run(handler, aws.sqs.record(0, tries=3)) == []
    assert DONE == [-1, -1, -1]
    dead = aws.sqs.sent[-1]
    assert dead["queue"] == SETTINGS["dead_queue_url"]
    assert json.loads(dead["body"])["job"]["id"] == job_id
    assert "what went wrong" not in dead["body"]
    assert get(handler, f"/jobs/{job_id}")[1]["state"] == "dead"


def test_a_permanent_error_is_given_up_at_once(aws, handler):
    post(handler, "/actions/later", {"width": 5})
    record = aws.sqs.record()
    record["body"] = record["body"].replace('"width":5', '"width":"wide"')
    assert run(handler, record) == []
    assert json.loads(aws.sqs.sent[-1]["body"])["error"]["code"] == "invalid_params"


def test_an_error_with_a_status_is_retried_as_any_other(aws, handler):
    post(handler, "/actions/later", {"width": 0})
    assert run(handler, aws.sqs.record(0, tries=1)) == ["message-0"]
    assert run(handler, aws.sqs.record(0, tries=3)) == []
    assert json.loads(aws.sqs.sent[-1]["body"])["error"]["code"] == "not_found"


def test_a_job_whose_only_try_failed_is_in_the_dead_letter_queue(aws, handler):
    answer = post(handler, "/actions/later", {"width": -1, "once": True})
    job_id = json.loads(answer.body)
    assert run(handler, aws.sqs.record()) == []
    assert aws.sqs.sent[-1]["queue"] == SETTINGS["dead_queue_url"]
    assert json.loads(aws.sqs.sent[-1]["body"])["job"]["id"] == job_id
    assert get(handler, f"/jobs/{job_id}")[1]["state"] == "failed"


def test_a_job_whose_process_was_killed_is_run_again_once_its_lease_is_over(aws, handler):
    post(handler, "/actions/later", {"width": 5})
    (item,) = [item for key, item in aws.dynamodb.items.items() if key[1] == "state"]
    running = {**item, "data": {"S": item["data"]["S"].replace('"queued"', '"running"')}}
    running["leased_until"] = {"N": str(time.time() + 60)}
    aws.dynamodb.items[item["pk"]["S"], "state"] = running
    assert run(handler, aws.sqs.record()) == ["message-0"]
    assert DONE == []
    running["leased_until"] = {"N": str(time.time() - 1)}
    assert run(handler, aws.sqs.record()) == []
    assert DONE == [5]


def test_a_key_makes_a_job_once(aws, handler):
    first = post(handler, "/actions/later", {"width": 5, "key": "a"}).body
    assert post(handler, "/actions/later", {"width": 6, "key": "a"}).body == first
    assert post(handler, "/actions/later", {"width": 7, "key": "b"}).body != first
    assert len(aws.sqs.sent) == 2


def test_a_key_is_free_again_where_the_queue_did_not_answer(aws, handler):
    aws.sqs.broken = True
    answer = post(handler, "/actions/later", {"width": 5, "key": "a"})
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "overloaded")
    aws.sqs.broken = False
    assert post(handler, "/actions/later", {"width": 5, "key": "a"}).status == 200
    assert len(aws.sqs.sent) == 1


@pytest.mark.parametrize("body", ["", "text", "{}", '{"v": 2, "job": {}}', '{"v": 1, "job": {"id": 3}}', "[1]"])
def test_a_message_without_a_job_fails_and_is_not_logged(handler, body, caplog):
    assert run(handler, record(body + " ", "1")) == ["message-1"]
    assert "message message-1 of the queue is not a job" in caplog.text


def test_in_a_group_those_behind_a_failure_wait(aws, handler):
    for width in (1, -1, 2):
        post(handler, "/actions/later", {"width": width})
    bodies = [each["body"] for each in aws.sqs.sent]
    records = [record(body, str(index), group="g") for index, body in enumerate(bodies)]
    assert run(handler, *records) == ["message-1", "message-2"]
    assert DONE == [1, -1]


def test_what_sqs_does_not_take_is_an_error_of_the_publishers(handler, caplog):
    assert post(handler, "/actions/later", {"width": 1, "delay": 901}).status == 500
    assert "the delay is 901 s; the limit of SQS is 900 s" in caplog.text


async def test_the_jobs_cannot_be_listed(app):
    with pytest.raises(ServeyError, match="SQS cannot list"):
        await app.runtime.queue.jobs()


@pytest.fixture
def anyio_backend():
    return "asyncio"


pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------------------------------------------- schedules


def scheduled(handler: Any, moment: str) -> Any:
    return handler({"servey": {"v": 1, "action": "tick", "params": {}, "trigger": "cron", "time": moment}}, None)


def test_a_schedules_call_is_made_once_for_each_moment(aws, handler):
    assert scheduled(handler, "2026-01-01T00:00:00Z") == 1
    assert scheduled(handler, "2026-01-01T00:00:00Z") is None
    assert scheduled(handler, "2026-01-01T00:01:00Z") == 2
    assert DONE == ["tick", "tick"]


def test_a_call_that_overlaps_is_left_out(aws, handler, caplog):
    until = {"N": str(time.time() + 60)}
    key = ("schedule#tick", "running")
    aws.dynamodb.items[key] = {"pk": {"S": key[0]}, "sk": {"S": key[1]}, "expires_at": until}
    assert scheduled(handler, "2026-01-01T00:00:00Z") is None
    assert "the previous one is still running" in caplog.text
    del aws.dynamodb.items[key]
    assert scheduled(handler, "2026-01-01T00:01:00Z") == 1


# ------------------------------------------------------------------------------------------------------------ cancelling


@action(timeout=60)
async def waits() -> None:
    DONE.append("begin")
    await asyncio.sleep(60)


@action(timeout=60)
def waits_in_a_thread(context: Context) -> str:
    DONE.append("begin")
    while not context.cancelled:
        time.sleep(0.005)
    return "stopped early"


async def test_a_queued_job_that_is_cancelled_never_starts(aws):
    made = create_app(actions=[waits], settings=Settings(env="prod", jwt_secret_key=SECRET, **SETTINGS))
    DONE.clear()
    queue = made.runtime.queue
    await queue.enqueue(Job("one", "waits", {}, trusted=True))
    assert await queue.cancel("one")
    assert (await queue.state("one")).state == "cancelled"
    assert not await queue.cancel("one")
    assert not await queue.cancel("nothing")
    answer = await run_records(made.runtime, perform_job, [aws.sqs.record(0)], 60)
    assert answer == {"batchItemFailures": []}
    assert DONE == []


@pytest.mark.parametrize("act", [waits, waits_in_a_thread])
async def test_a_running_job_is_cancelled_within_a_second(aws, act):
    made = create_app(actions=[act], settings=Settings(env="prod", jwt_secret_key=SECRET, **SETTINGS))
    DONE.clear()
    queue = made.runtime.queue
    await queue.enqueue(Job("one", act.__name__, {}, trusted=True))
    message = aws.sqs.record(0)
    running = asyncio.create_task(run_records(made.runtime, perform_job, [message], 60))
    while not DONE:
        await asyncio.sleep(0.005)
    begun = time.monotonic()
    assert await queue.cancel("one")
    assert await running == {"batchItemFailures": []}
    assert time.monotonic() - begun < 1
    assert (await queue.state("one")).state == "cancelled"


async def test_what_sqs_cannot_do_says_what_to_do_instead(app):
    queue = app.runtime.queue
    for ask in (queue.jobs, queue.queues, queue.depth, lambda: queue.retry("a"), lambda: queue.drop("a")):
        with pytest.raises(ServeyError, match="AWS console"):
            await ask()
    for ask in (queue.pause, queue.resume):
        with pytest.raises(ServeyError, match="SQS trigger"):
            await ask("mail")


# ----------------------------------------------------------------------------------------------------- the function's time


class LambdaContext:
    """The context of an invocation that Lambda stops after some seconds."""

    aws_request_id = "of-lambda"

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


RELEASED = threading.Event()


@action(timeout=60)
def waits_uninterruptibly() -> None:
    RELEASED.wait(60)


def message_of(job: Job, number: int = 0, group: str | None = None) -> dict[str, Any]:
    return record(to_json({"v": 1, "job": job}).decode(), str(number), group=group)


async def state_of(handler: Any, job: Job) -> Any:
    return await handler.runtime.queue.state(job.id)


@pytest.mark.parametrize("act", [waits, waits_uninterruptibly], ids=["async", "def"])
def test_a_job_ends_with_a_timeout_before_lambda_stops_the_function(aws, act):
    RELEASED.clear()
    job = Job("one", act.__name__, {}, trusted=True, retry=Retry(max_tries=3, backoff=60))
    with closing(build_handler(create_app(actions=[act], settings=Settings(env="prod", **SETTINGS)))) as handler:
        begun = time.monotonic()
        answer = handler({"Records": [message_of(job)]}, LambdaContext(2))
        assert time.monotonic() - begun < 30
        assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
        state = handler.run(state_of(handler, job))
        assert (state.state, state.error["code"], state.tries) == ("queued", "timeout", 1)
        RELEASED.set()


@action(timeout=1000)
async def takes_too_long() -> None: ...


@action(triggers=WEB_POST)
async def starts_what_takes_too_long(context: Context) -> str:
    return await context.enqueue(takes_too_long, {})


def test_what_lambda_would_stop_is_no_job(aws, caplog):
    app = create_app(actions=[takes_too_long, starts_what_takes_too_long], settings=Settings(env="prod", **SETTINGS))
    with closing(build_handler(app)) as handler:
        assert post(handler, "/actions/starts-what-takes-too-long", {}).status == 500
    assert "its timeout is 1000 s, and Lambda stops a job after 899.5 s; use a shorter timeout" in caplog.text


def test_messages_of_a_group_that_cannot_start_in_time_are_not_tried(aws):
    DONE.clear()
    jobs = [Job(name, "waits", {}, trusted=True, retry=Retry(max_tries=1)) for name in ("one", "two")]
    messages = [message_of(job, number, "g") for number, job in enumerate(jobs)]
    with closing(build_handler(create_app(actions=[waits], settings=Settings(env="prod", **SETTINGS)))) as handler:
        answer = handler({"Records": messages}, LambdaContext(2))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
        assert DONE == ["begin"]
        assert handler.run(state_of(handler, jobs[1])) is None
