"""Long-lived tasks: restarted when they fail, and named while they are gone."""

import asyncio

import pytest

from servey import Settings, create_app
from servey.calls.supervise import supervise
from servey.observability.metrics import TASK_RESTARTS
from servey.testing import client

pytestmark = pytest.mark.anyio


class Task:
    """Fails as it is told to, one run after another; then it runs on."""

    def __init__(self, *failures: BaseException | None) -> None:
        self.failures = list(failures)
        self.runs = 0
        self.steady = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                raise failure
            return
        self.steady.set()
        await asyncio.Event().wait()


async def test_a_task_that_fails_or_returns_is_restarted_and_counted(caplog):
    runtime = create_app(actions=[], settings=Settings(env="dev")).runtime
    task = Task(RuntimeError("one"), None, SystemExit(2), asyncio.CancelledError())
    running = asyncio.create_task(supervise("jobs", task.run, runtime, first_delay=0.001))
    async with asyncio.timeout(5):
        await task.steady.wait()
    assert task.runs == 5
    assert runtime.metrics.value(TASK_RESTARTS, "jobs") == 4
    assert "task 'jobs' failed and restarts" in caplog.text
    assert set(runtime.failed_tasks) == {"jobs"}
    async with asyncio.timeout(5):
        while runtime.failed_tasks:
            await asyncio.sleep(0.02)
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()


async def test_a_task_that_is_cancelled_ends_and_is_not_restarted():
    runtime = create_app(actions=[], settings=Settings(env="dev")).runtime
    task = Task()
    running = asyncio.create_task(supervise("jobs", task.run, runtime))
    async with asyncio.timeout(5):
        await task.steady.wait()
    running.cancel()
    await asyncio.wait({running})
    assert (running.cancelled(), task.runs, runtime.failed_tasks) == (True, 1, {})


def test_an_app_is_not_ready_while_a_task_is_gone():
    made = create_app(actions=[], settings=Settings(env="dev"))
    with client(made) as http:
        assert http.get("/health/ready").status_code == 200
        made.runtime.failed_tasks["jobs"] = "RuntimeError: one"
        answer = http.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "failing", "failing": ["jobs"]})
