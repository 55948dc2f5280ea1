"""What the console shows of schedules, queues and workers of all processes, over a real Redis and without one."""

import asyncio
import re
import threading

import pytest

from servey import WEB_POST, FixedRateTrigger, Settings, action, create_app
from servey.console import samples
from servey.testing import client
from tests.console.app import SECRET

BROWSER = {"Accept": "text/html"}
INTERVAL = 0.5


def settings_of(**more: object) -> Settings:
    return Settings(env="dev", jwt_secret_key=SECRET, **{"namespace": "operating", **more})  # type: ignore[arg-type]


def page_with(http, path: str, *texts: str) -> str:
    """Ask for a page until it has all of some texts."""
    for _ in range(2000):
        page = http.get(path, headers=BROWSER).text
        if all(each in page for each in texts):
            return page
    raise AssertionError(page)


@pytest.fixture(params=["memory", "redis"])
def parts(request) -> dict[str, object]:
    return {} if request.param == "memory" else {"redis_url": request.getfixturevalue("redis").url}


def test_schedules_show_their_last_slots(parts):
    turns = iter(("done", "failed", "slow"))

    @action(triggers=FixedRateTrigger(INTERVAL))
    async def sweep() -> None:
        turn = next(turns, "done")
        if turn == "failed":
            raise RuntimeError("the broom is a <secret>")
        if turn == "slow":
            await asyncio.sleep(1.5 * INTERVAL)

    @action(triggers=FixedRateTrigger(86_400))
    async def rest() -> None: ...

    with client(create_app(actions=[sweep, rest], settings=settings_of(**parts))) as http:
        page = page_with(http, "/_servey/schedules", "failed: ", "skipped, since", '<i class="good"')
        assert ("broom" in page, "none yet" in page) == (False, True)


def test_an_idle_worker_is_listed_with_what_it_reads(redis):
    go = threading.Event()

    @action(triggers=WEB_POST, queue="mail")
    def send() -> None:
        go.wait(20)

    settings = settings_of(redis_url=redis.url, job_queues="mail", job_concurrency=3)
    with client(create_app(actions=[send], settings=settings)) as http:
        page_with(http, "/_servey/jobs", '<span class="badge">idle</span>, reads mail')
        job = http.post("/actions/send", headers={"Prefer": "respond-async"}).json()["id"]
        page = page_with(http, "/_servey/jobs", "runs 1 of 3")
        assert f"/_servey/jobs/{job}" in page
        go.set()
        page_with(http, "/_servey/jobs", '<span class="badge">idle</span>')
    with client(create_app(actions=[send], settings=Settings(
        env="prod", console=True, jwt_secret_key=SECRET, login_password="open sesame", namespace="operating", redis_url=redis.url
    ))) as http:  # fmt: skip
        token = http.post("/login", data={"username": "root", "password": "open sesame"}).json()["access_token"]
        page = http.get("/_servey/jobs", headers={"Authorization": f"Bearer {token}"}).text
        assert "No worker is there" in page  # the first one has left


def test_the_depth_of_queues_is_sampled(parts, monkeypatch):
    monkeypatch.setattr(samples, "SECONDS", 0.2)  # 36 s are kept

    @action(triggers=WEB_POST)
    async def pack() -> None: ...

    with client(create_app(actions=[pack], settings=settings_of(**parts, namespace="depth"))) as http:
        own = {**BROWSER, "Origin": "http://testserver"}
        http.post("/actions/pack", headers={"Prefer": "respond-async"})
        page_with(http, "/_servey/jobs", "1 done")
        http.post("/_servey/queues", data={"name": "default", "change": "pause"}, headers=own)
        for _ in range(3):
            http.post("/actions/pack", headers={"Prefer": "respond-async"})
        page_with(http, "/_servey/jobs", "179.0,2.0 180.0,2.0", "at most 3")  # all three waited, and wait now
        http.post("/_servey/queues", data={"name": "default", "change": "resume"}, headers=own)
        page = page_with(http, "/_servey/jobs", 'data-label="Queued">0</td>', "at most 3")
        assert re.search(r'<polyline points="([^"]+)"/>', page)[1].split()[-1] == "180.0,23.0"
