"""``Prefer: respond-async``: the job runs with what the request had."""

import time
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, Header, Path, Query, Request, UploadFile
from pydantic import BaseModel
from starlette.testclient import TestClient

from servey import WEB_GET, WEB_POST, Context, Settings, WebTrigger, WebTriggerMethod, action, create_app
from servey.core.access import Authorization
from servey.testing import client, token_for

DEV = Settings(env="dev", job_grace=2)
LATER = {"Prefer": "respond-async"}


class Common(BaseModel):
    x_region: str = "none"
    x_many: list[str] = []


def tenant(x_tenant: Annotated[str, Header()] = "public", page: int = 1) -> str:
    return f"{x_tenant} page {page}"


@action(triggers=WEB_POST)
async def write(
    text: str,
    who: Annotated[str, Depends(tenant)],
    common: Annotated[Common, Header()],
    dry_run: Annotated[bool, Header()] = False,
    agent: Annotated[str, Header(alias="X-Agent")] = "",
    session: Annotated[str, Cookie()] = "",
) -> str:
    if text == "fail":
        raise RuntimeError
    return f"{who} {'dry' if dry_run else 'REAL'} {text} {session!r} {common.x_region} {common.x_many} {agent}"


@action(triggers=WEB_POST)
async def needs(x_key: Annotated[str, Header()], session: Annotated[str, Cookie()]) -> str:
    return f"{x_key} {session}"


def in_path(folder: Annotated[str, Path()], q: Annotated[str, Query()]) -> str:
    return f"{folder} {q}"


@action(triggers=WebTrigger(WebTriggerMethod.GET, "/folders/{folder}/{n}"))
async def lists(n: int, where: Annotated[str, Depends(in_path)]) -> str:
    return f"{n} {where}"


@action(triggers=WEB_POST)
async def uploads(name: str = "", file: UploadFile | None = None) -> str:
    return (await file.read()).decode() if file is not None else "no file"


@action(triggers=WEB_POST)
async def reads_request(request: Request) -> str:
    return request.headers["x-tenant"]


@pytest.fixture
def http():
    with client(create_app(actions=[write, needs, lists, uploads, reads_request], settings=DEV)) as made:
        yield made


def result_of(http: Any, answer: Any) -> Any:
    assert answer.status_code == 202, answer.text
    end = time.monotonic() + 5
    while (body := http.get(answer.headers["location"]).json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.005)
    assert body["state"] == "done", body
    return body["result"]


HEADERS = [
    ("X-Tenant", "acme"), ("dry-run", "true"), ("Cookie", "theme=dark; session=s 1; x=y"), ("x-region", "eu"),
    ("x-many", "a"), ("x-many", "b"), ("x-agent", "caf\xe9".encode("latin-1")), ("x-secret", "not read"),
]  # fmt: skip


def test_headers_cookies_and_query_that_the_action_and_its_dependencies_read_are_kept(http):
    at_once = http.post("/actions/write?page=7&other=1", json={"text": "t"}, headers=HEADERS)
    assert at_once.json().startswith("acme page 7 dry t 's 1' eu ['a', 'b'] caf")
    answer = http.post("/actions/write?page=7&other=1", json={"text": "t"}, headers=[*HEADERS, *LATER.items()])
    assert result_of(http, answer) == at_once.json()


def test_without_a_lifespan_no_job_is_accepted():
    http = TestClient(create_app(actions=[write], settings=DEV))  # not entered, so nothing runs jobs
    answer = http.post("/actions/write", json={"text": "t"}, headers=LATER)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert http.post("/actions/write", json={"text": "t"}).status_code == 200


def test_nothing_else_of_the_request_is_stored():
    made = create_app(actions=[write], settings=DEV)
    with client(made) as http:
        answer = http.post(
            "/actions/write?page=7&key=secret", json={"text": "fail"}, headers=[*HEADERS, *LATER.items(), ("x-a", "b")]
        )
        job = made.runtime.queue._states[answer.json()["id"]].job
        assert {name for name, _ in job.request.headers} == {
            "x-tenant", "dry-run", "x-region", "x-many", "x-agent", "cookie"
        }  # fmt: skip
        assert dict(job.request.headers)["cookie"] == "session=s 1"
        assert (job.request.query, job.request.path) == ("page=7", {})


def test_required_headers_and_cookies_are_no_hindrance(http):
    answer = http.post("/actions/needs", headers={"X-Key": "k", "Cookie": "session=s", **LATER})
    assert result_of(http, answer) == "k s"


def test_path_and_query_of_a_dependency(http):
    assert http.get("/folders/a%20b/5?q=x%26y").json() == "5 a b x&y"
    assert result_of(http, http.get("/folders/a%20b/5?q=x%26y", headers=LATER)) == "5 a b x&y"


def test_a_request_with_a_file_is_answered_at_once_and_one_without_later(http):
    answer = http.post("/actions/uploads", files={"file": b"content"}, headers=LATER)
    assert (answer.status_code, answer.json()) == (200, "content")
    answer = http.post("/actions/uploads", data={"name": "a"}, headers=LATER)
    assert result_of(http, answer) == "no file"


def test_an_action_that_takes_the_whole_request_is_answered_at_once(http):
    answer = http.post("/actions/reads-request", headers={"X-Tenant": "acme", **LATER})
    assert (answer.status_code, answer.json()) == (200, "acme")


def test_headers_that_an_overriding_dependency_reads_are_kept():
    def other(x_other: Annotated[str, Header()] = "none") -> str:
        return x_other

    def whole(request: Request) -> str:
        return request.headers["x-other"]

    made = create_app(actions=[write], settings=DEV)
    headers = {"X-Other": "o", **LATER}
    with client(made) as http:
        made.dependency_overrides[tenant] = other
        assert result_of(http, http.post("/actions/write", json={"text": "t"}, headers=headers)).startswith("o REAL")
        made.dependency_overrides[tenant] = whole
        answer = http.post("/actions/write", json={"text": "t"}, headers=headers)
        assert (answer.status_code, answer.json()[:6]) == (200, "o REAL")


RAN: list[str] = []


@action
async def resize(image: str) -> str:
    RAN.append(image)
    return image


@action(triggers=WEB_POST)
async def upload(image: str, context: Context) -> str:
    return await context.enqueue(resize, {"image": image}, key=f"resize {image}")


@action(triggers=WEB_GET)
async def other_of_the_name(context: Context) -> str:
    return await context.enqueue(resize, {"image": "b"}, key="resize a")


def test_keys_are_each_callers_own():
    made = create_app(actions=[resize, upload, other_of_the_name], settings=DEV)
    ada, bob = ({"Authorization": f"Bearer {token_for(made, Authorization(name))}"} for name in ("ada", "anonymous"))
    with client(made) as http:
        ids = [http.post("/actions/upload", json={"image": "a"}, headers=each).json() for each in (ada, bob, {})]
        assert len(set(ids)) == 3
        assert ids == [
            http.post("/actions/upload", json={"image": "a"}, headers=each).json() for each in (ada, bob, {})
        ]
        for job_id, headers in zip(ids, (ada, bob, {}), strict=True):
            assert http.get(f"/jobs/{job_id}", headers=headers).status_code == 200
        assert http.get("/actions/other-of-the-name").json() == ids[2]
