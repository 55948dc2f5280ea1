"""A commit and the enqueueing after it are not one transaction: a process that is killed between them loses the job."""

import signal

import pytest
import redis as client

from tests.serving import redis_server, run

PROGRAM = """
import os, signal
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.testclient import TestClient

from servey import WEB_POST, Context, action, create_app


def transaction():
    yield
    Path("committed").touch()
    if "KILLED" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)


@action
def pack(order: int) -> None: ...


@action(triggers=WEB_POST)
async def order(number: int, context: Context, opened: Annotated[None, Depends(transaction, scope="function")]) -> None:
    await context.enqueue(pack, {"order": number}, on_success=True)


with TestClient(create_app(actions=[pack, order])) as http:
    assert http.post("/actions/order", json={"number": 1}).status_code == 200
"""


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "code", "jobs"), [({}, 0, 1), ({"KILLED": "1"}, -signal.SIGKILL, 0)])
def test_a_kill_between_the_commit_and_the_enqueueing_loses_the_job(tmp_path, killed, code, jobs):
    with redis_server() as redis:
        settings = {"SERVEY_ENV": "dev", "SERVEY_REDIS_URL": redis.url, **killed}
        done = run("-c", PROGRAM, cwd=tmp_path, **settings)
        assert done.returncode == code, done.stderr
        assert (tmp_path / "committed").exists()
        with client.Redis(port=redis.port, decode_responses=True) as connection:
            assert len(connection.keys("*:job:*")) == jobs
