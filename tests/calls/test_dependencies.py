"""Dependencies: their order, overrides and errors."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, Response

from servey import WEB_GET, NotFound, action, create_app
from servey.calls.invoke import invoke
from servey.testing import client
from tests.calls.dependencies_app import DEV, LOG, brief, inner, outer


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    LOG.clear()


def nested(below: Annotated[str, Depends(inner)]) -> Iterator[str]:
    LOG.append("nested open")
    yield f"nested over {below}"
    LOG.append("nested close")


async def plain(below: Annotated[str, Depends(inner)]) -> str:
    LOG.append("plain")
    return f"plain over {below}"


def after() -> None:
    LOG.append("background")


async def work(
    first: Annotated[str, Depends(outer)],
    second: Annotated[str, Depends(nested)],
    third: Annotated[str, Depends(plain)],
    fourth: Annotated[str, Depends(brief, scope="function")],
    background: BackgroundTasks,
    response: Response,
    how: str = "well",
) -> str:
    LOG.append("call")
    background.add_task(after)
    if how == "error":
        raise RuntimeError("secret")
    if how == "http":
        raise HTTPException(404, "gone")
    if how == "known":
        raise NotFound("gone")
    return " ".join((first, second, third, fourth))


def work_in_thread(
    first: Annotated[str, Depends(outer)],
    second: Annotated[str, Depends(nested)],
    third: Annotated[str, Depends(plain)],
    fourth: Annotated[str, Depends(brief, scope="function")],
    background: BackgroundTasks,
    response: Response,
    how: str = "well",
) -> str:
    return asyncio.run(work(first, second, third, fourth, background, response, how))


def twin() -> FastAPI:
    """The same endpoints, written by hand."""
    app = FastAPI()
    app.get("/actions/work")(work)
    app.get("/actions/work-in-thread")(work_in_thread)
    return app


def ours() -> Any:
    return create_app(actions=[action(triggers=WEB_GET)(work), action(triggers=WEB_GET)(work_in_thread)], settings=DEV)


def events(app: Any, path: str) -> tuple[list[str], int, str]:
    LOG.clear()
    with client(app) as http:
        answer = http.get(path)
    return list(LOG), answer.status_code, answer.text if answer.status_code == 200 else ""


@pytest.mark.parametrize("path", ["work", "work-in-thread"])
@pytest.mark.parametrize("how", ["well", "error", "http"])
def test_the_order_is_fastapis(path, how):
    expected = events(twin(), f"/actions/{path}?how={how}")
    assert events(ours(), f"/actions/{path}?how={how}") == expected
    assert "inner open" in expected[0]


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["well", "known"])
async def test_the_order_is_the_same_outside_of_http(how):
    app = ours()
    async with app.runtime.lifespan():
        try:
            async with app.runtime.context("cli", trusted=True) as context:
                assert await invoke(app.runtime.catalog["work"], {"how": how}, context) == (
                    "outer nested over inner plain over inner brief"
                )
                LOG.append("result used")
        except NotFound:
            assert how == "known"
    if how == "well":
        assert LOG == [
            "outer open", "inner open", "nested open", "plain", "brief open", "call", "brief close",
            "result used", "background", "nested close", "inner close", "outer close",
        ]  # fmt: skip
    else:
        assert LOG[-3:] == ["inner close", "outer sees NotFound", "outer close"]
        assert "background" not in LOG


@pytest.mark.anyio
async def test_a_transport_that_fails_with_the_result_is_seen_too():
    app = ours()
    with pytest.raises(ValueError, match="could not send"):
        async with app.runtime.lifespan(), app.runtime.context("cli", trusted=True) as context:
            await invoke(app.runtime.catalog["work"], {}, context)
            raise ValueError("could not send")
    assert "outer sees ValueError" in LOG
    assert "background" not in LOG


def test_a_result_that_does_not_fit_is_a_failure_to_dependencies():
    @action(triggers=WEB_GET)
    async def lies(held: Annotated[str, Depends(outer)]) -> int:
        return "text"  # type: ignore[return-value]

    with client(create_app(actions=[lies], settings=DEV)) as http:
        assert http.get("/actions/lies").status_code == 500
    assert LOG == ["outer open", "outer sees ResultError", "outer close"]


def test_overrides_hold_on_every_way_of_calling():
    async def fake() -> AsyncIterator[str]:
        LOG.append("fake open")
        yield "fake"
        LOG.append("fake close")

    @action(triggers=WEB_GET)
    def show(text: Annotated[str, Depends(outer)]) -> str:
        return text

    app = create_app(actions=[show], settings=DEV)
    app.dependency_overrides[outer] = fake
    with client(app) as http:
        assert http.get("/actions/show").json() == "fake"

    async def call() -> str:
        async with app.runtime.context("cli", trusted=True) as context:
            return await invoke(app.runtime.catalog["show"], {}, context)

    assert anyio.run(call) == "fake"
    assert LOG == ["fake open", "fake close"] * 2


def test_a_plain_override_of_a_plain_dependency():
    async def one() -> int:
        return 1

    @action(triggers=WEB_GET)
    async def show(number: Annotated[int, Depends(one)]) -> int:
        return number

    app = create_app(actions=[show], settings=DEV)
    app.dependency_overrides[one] = lambda: 2
    with client(app) as http:
        assert http.get("/actions/show").json() == 2
        app.dependency_overrides.clear()
        assert http.get("/actions/show").json() == 1


def test_dependencies_report_what_does_not_fit():
    async def paging(limit: int, x_page: Annotated[int, Header()]) -> int:
        return limit

    @action(triggers=WEB_GET)
    async def show(limit: Annotated[int, Depends(paging)]) -> int:
        return limit

    with client(create_app(actions=[show], settings=DEV)) as http:
        assert http.get("/actions/show?limit=3", headers={"X-Page": "1"}).json() == 3
        errors = http.get("/actions/show?limit=x").json()["detail"]
    assert [error["loc"] for error in errors] == [["query", "limit"], ["header", "x-page"]]


@pytest.mark.anyio
async def test_without_a_request_what_comes_from_one_keeps_its_default():
    async def caller(request: Request = None, x_name: Annotated[str, Header()] = "nobody") -> str:  # type: ignore[assignment]
        return f"{x_name} {request is None}"

    @action(triggers=WEB_GET)
    async def show(text: Annotated[str, Depends(caller)]) -> str:
        return text

    app = create_app(actions=[show], settings=DEV)
    assert app.runtime.plan(show.servey_action).injection.requests_needed is None
    async with app.runtime.context("cli", trusted=True) as context:
        assert await invoke(show.servey_action, {"x_name": "mallory", "text": "forged"}, context) == "nobody True"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        assert (await http.get("/actions/show", headers={"X-Name": "ada"})).json() == "ada False"


@pytest.mark.parametrize("kind", ["async", "def"])
def test_200_calls_open_200_and_close_200_also_when_cancelled(kind):
    counts = {"open": 0, "close": 0, "most": 0}

    async def session() -> AsyncIterator[int]:
        counts["open"] += 1
        counts["most"] = max(counts["most"], counts["open"] - counts["close"])
        try:
            yield counts["open"]
        finally:
            await asyncio.sleep(0)
            counts["close"] += 1

    async def wait_async(number: Annotated[int, Depends(session)], seconds: float) -> int:
        await asyncio.sleep(seconds)
        return number

    def wait_def(number: Annotated[int, Depends(session)], seconds: float) -> int:
        time.sleep(seconds)
        return number

    wait = action(name="wait", triggers=WEB_GET)(wait_async if kind == "async" else wait_def)
    app = create_app(actions=[wait], settings=DEV)

    async def call(seconds: float) -> None:
        async with app.runtime.context("test", trusted=True) as context:
            await invoke(wait.servey_action, {"seconds": seconds}, context)

    async def main() -> None:
        async with app.runtime.lifespan():
            async with anyio.create_task_group() as group:
                for _ in range(200):
                    group.start_soon(call, 0.01)
            assert counts["open"] == counts["close"] == 200
            with anyio.move_on_after(0.3):
                async with anyio.create_task_group() as group:
                    for _ in range(200):
                        group.start_soon(call, 1.0)

    anyio.run(main)
    assert counts["open"] == counts["close"] > 200
    assert counts["most"] > 100
