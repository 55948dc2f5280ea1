"""`Prefer: respond-async`, and `/jobs/{id}`."""

import time
from typing import Any

from servey import WEB_GET, WEB_POST, ActionError, Authorization, action, create_app
from servey.testing import client, token_for
from tests.jobs.actions import note, only_root


def until_done(http, path: str, **headers: str) -> dict[str, Any]:
    end = time.monotonic() + 10
    while (body := http.get(path, headers=headers).json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.01)
    return body


def test_prefer_respond_async(dev):
    with client(create_app(actions=[note], settings=dev)) as http:
        answer = http.post("/actions/note", json={"what": "a"}, headers={"Prefer": "respond-async, wait=5"})
        assert answer.status_code == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
        assert answer.json()["action"] == "note"
        body = until_done(http, answer.headers["location"])
        assert body == {
            "id": answer.json()["id"], "action": "note", "state": "done", "progress": None, "result": "A", "error": None
        }  # fmt: skip


def test_what_is_wrong_is_said_at_once(dev):
    with client(create_app(actions=[note, only_root], settings=dev)) as http:
        later = {"Prefer": "respond-async"}
        assert http.post("/actions/note", json={"what": 5}, headers=later).status_code == 422
        assert http.post("/actions/only-root", headers=later).status_code == 401


def test_a_job_is_its_enqueuers_own(dev):
    made = create_app(actions=[note], settings=dev)
    ada, bob = (f"Bearer {token_for(made, Authorization(name))}" for name in ("ada", "bob"))
    with client(made) as http:
        headers = {"Prefer": "respond-async", "Authorization": ada}
        path = http.post("/actions/note", json={"what": "a"}, headers=headers).headers["location"]
        assert until_done(http, path, Authorization=ada)["result"] == "A"
        for answer in (http.get(path), http.get(path, headers={"Authorization": bob}), http.get("/jobs/nothing")):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert http.get(path, headers={"Authorization": "Bearer bad"}).status_code == 401


@action(triggers=WEB_POST)
async def fails_for_good() -> None:
    raise ActionError(409, "twice", "not again")


def test_a_call_that_fails_has_one_try(dev):
    with client(create_app(actions=[fails_for_good], settings=dev)) as http:
        path = http.post("/actions/fails-for-good", headers={"Prefer": "respond-async"}).headers["location"]
        body = until_done(http, path)
        assert (body["state"], body["error"]) == ("failed", {"detail": "not again", "code": "twice"})


@action(triggers=WEB_GET)
async def streams():
    yield 1


def test_what_can_not_be_later_is_answered_now(dev):
    with client(create_app(actions=[streams], settings=dev)) as http:
        answer = http.get("/actions/streams", headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.text) == (200, "1\n")
