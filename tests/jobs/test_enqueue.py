"""`servey.enqueue`: jobs from an action, a host's own route and code outside of any call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from servey import (
    WEB_POST,
    Authorization,
    ScopeAccessControl,
    Servey,
    ServeyError,
    Settings,
    action,
    create_app,
    enqueue,
)
from servey.core.errors import InvalidParams
from servey.testing import client, token_for

pytestmark = pytest.mark.anyio

DEV = Settings(env="dev")


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def guarded(what: str, authorization: Authorization | None) -> list[str | None]:
    return [what, authorization.subject_id if authorization else None]


@action(triggers=WEB_POST)
async def hand_over(what: str) -> str:
    return await enqueue(guarded, {"what": what})


@action(triggers=WEB_POST)
def hand_over_def(what: str) -> str:
    return enqueue("guarded", {"what": what}).value


@action(triggers=WEB_POST)
async def elsewhere() -> None:
    pass


async def result_of(app: Servey, job_id: str) -> object:
    async with asyncio.timeout(10):
        while (state := await app.runtime.queue.state(job_id)).state in ("queued", "running"):
            await asyncio.sleep(0.01)
    assert state.state == "done", state
    return state.result


async def test_outside_a_call_the_app_itself_enqueues():
    app = create_app(actions=[guarded], settings=DEV)
    async with app.router.lifespan_context(app):
        assert await result_of(app, await enqueue(guarded, {"what": "a"})) == ["a", None]
        assert await result_of(app, await enqueue("guarded", {"what": "b"})) == ["b", None]
        first = await enqueue(guarded, {"what": "c"}, key="k")
        assert await enqueue(guarded, {"what": "d"}, key="k") == first


async def test_a_job_of_the_apps_own_lifespan_runs_after_the_start():
    ids = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ids.append(await enqueue(guarded, {"what": "early"}))
        yield

    app = create_app(actions=[guarded], settings=DEV, lifespan=lifespan)
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert await result_of(app, ids[-1]) == ["early", None]


async def test_a_mistake_fails_at_once():
    app = create_app(actions=[guarded], settings=DEV)
    async with app.router.lifespan_context(app):
        with pytest.raises(InvalidParams):
            await enqueue(guarded, {"what": 5})
        with pytest.raises(ServeyError, match="not an action of this app"):
            await enqueue(elsewhere)


async def test_of_several_apps_the_one_that_has_the_action_enqueues():
    app, other = (create_app(actions=[each], settings=DEV) for each in (guarded, elsewhere))
    async with app.router.lifespan_context(app), other.router.lifespan_context(other):
        assert await result_of(app, await enqueue(guarded, {"what": "a"})) == ["a", None]
        assert await result_of(other, await enqueue("elsewhere")) is None


@pytest.mark.parametrize("path", ["/actions/hand-over", "/actions/hand-over-def"])
def test_in_a_call_its_caller_enqueues(path):
    app = create_app(actions=[guarded, hand_over, hand_over_def], settings=DEV)
    with client(app) as http:
        assert http.post(path, json={"what": "a"}).status_code == 401
        headers = {"Authorization": f"Bearer {token_for(app, Authorization('ada', frozenset({'root'})))}"}
        job_id = http.post(path, json={"what": "a"}, headers=headers).json()
        assert http.portal is not None
        assert http.portal.call(result_of, app, job_id) == ["a", "ada"]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_hosts_own_route_enqueues(is_async):
    servey_app = create_app(actions=[guarded], settings=DEV)
    host = FastAPI()
    servey_app.install(host, prefix="/servey")

    async def route() -> str:
        return await enqueue(guarded, {"what": "a"})

    def route_def() -> str:
        return enqueue(guarded, {"what": "a"}).value

    host.post("/own")(route if is_async else route_def)
    with TestClient(host) as http:
        job_id = http.post("/own").json()
        assert http.portal is not None
        assert http.portal.call(result_of, servey_app, job_id) == ["a", None]
