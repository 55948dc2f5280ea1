"""The app's `errors` function, and problem details, on every transport."""

import time
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    ConfigError,
    Context,
    ErrorFacts,
    NotFound,
    Retry,
    ScopeAccessControl,
    Servey,
    Settings,
    WebPageTrigger,
    action,
    create_app,
)


class WrongPassword(Exception):
    """An error of the domain, which knows nothing of Servey."""


@action(triggers=WEB_GET, retry=Retry(max_tries=3, backoff=0.01))
async def sign_in() -> int:
    raise WrongPassword("the hash is abc")


@action(triggers=WEB_GET)
async def missing() -> int:
    raise NotFound("There is no article")


@action(triggers=WEB_GET)
async def crash() -> int:
    raise RuntimeError("the password is s3cret")


@action(triggers=WEB_POST)
async def store(numbers: list[int]) -> int:
    return len(numbers)


@action(triggers=WEB_GET)
async def search(limit: int) -> int:
    return limit


@action(triggers=WEB_GET, access_control=ScopeAccessControl("admin"))
async def guarded() -> int:
    return 1


@action(triggers=WebPageTrigger())
async def greeting(number: int) -> str:
    return str(number)


@action(triggers=WEB_POST)
async def later(context: Context) -> str:
    return await context.enqueue(sign_in, {})


ACTIONS = [sign_in, missing, crash, store, search, guarded, later]


def errors(facts: ErrorFacts) -> ActionError | dict[str, Any]:
    if isinstance(facts.raised, WrongPassword):
        return ActionError(401, "wrong_password", "The password does not match")
    return {"message": facts.detail, "kind": facts.code, "request": facts.request_id}


def app(**more: Any) -> Servey:
    settings = more.pop("settings", Settings(env="dev"))
    return create_app(actions=more.pop("actions", ACTIONS), channels=[], settings=settings, **more)


def client(made: FastAPI) -> TestClient:
    return TestClient(made, raise_server_exceptions=False, headers={"X-Request-ID": "r1"})


@pytest.mark.parametrize(
    ("path", "status", "message", "kind"),
    [
        ("/actions/sign-in", 401, "The password does not match", "wrong_password"),
        ("/actions/missing", 404, "There is no article", "not_found"),
        ("/actions/crash", 500, "Internal Server Error", "internal"),
        ("/actions/guarded", 401, "Not authenticated", "unauthenticated"),
        ("/actions/store", 405, "Method Not Allowed", "method_not_allowed"),
        ("/nowhere", 404, "Not Found", "not_found"),
    ],
)
def test_every_error_has_the_apps_shape(path: str, status: int, message: str, kind: str) -> None:
    with client(app(errors=errors)) as http:
        answer = http.get(path)
    assert answer.status_code == status
    assert answer.json() == {"message": message, "kind": kind, "request": "r1"}
    assert "s3cret" not in answer.text


def test_invalid_parameters_have_the_apps_shape() -> None:
    with client(app(errors=errors)) as http:
        answer = http.post("/actions/store", json={"numbers": ["x"]})
    assert answer.status_code == 422
    assert answer.json()["kind"] == "invalid_params"
    assert answer.json()["message"][0]["loc"] == ["body", "numbers", 0]


def test_graphql_has_the_apps_body_in_the_extensions() -> None:
    with client(app(errors=errors)) as http:
        shown = {
            name: http.post("/graphql", json={"query": f"{{ {name} }}"}).json()["errors"][0]
            for name in ("signIn", "missing", "crash")
        }
    assert shown["signIn"]["message"] == "The password does not match"
    assert shown["signIn"]["extensions"] == {
        "code": "wrong_password",
        "message": "The password does not match",
        "kind": "wrong_password",
        "request": "r1",
    }
    assert shown["missing"]["extensions"]["kind"] == "not_found"
    assert shown["crash"]["extensions"]["kind"] == "internal"


def finished(http: TestClient, id: str) -> dict[str, Any]:
    end = time.monotonic() + 10
    while (job := http.get(f"/jobs/{id}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
    return job  # type: ignore[no-any-return]


def test_a_job_that_is_refused_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with client(app(errors=errors)) as http:
        job = finished(http, http.post("/actions/later").json())
    assert job["state"] == "failed"
    assert job["error"] == {
        "message": "The password does not match",
        "kind": "wrong_password",
        "request": "r1",
        "code": "wrong_password",
    }
    assert "Traceback" not in caplog.text and "tried again" not in caplog.text


def test_without_a_meaning_it_is_a_crash() -> None:
    with client(app()) as http:
        job = finished(http, http.post("/actions/later").json())
    assert job["state"] == "dead" and job["error"]["code"] == "internal"


def test_an_exception_handler_goes_before_it() -> None:
    def handle(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"from": "handler"}, 418)

    with client(app(errors=errors, exception_handlers={WrongPassword: handle})) as http:
        assert http.get("/actions/sign-in").json() == {"from": "handler"}
        assert http.get("/actions/missing").json()["kind"] == "not_found"


def test_it_says_in_a_host_what_an_error_means(caplog: pytest.LogCaptureFixture) -> None:
    api = FastAPI(exception_handlers={WrongPassword: lambda request, error: JSONResponse({"host": str(error)}, 401)})
    Servey(actions=ACTIONS, channels=[], settings=Settings(env="dev")).install(api, prefix="/servey", errors=errors)
    with client(api) as http:
        assert http.get("/servey/actions/sign-in").json() == {"host": "the hash is abc"}
        assert http.get("/servey/actions/missing").json()["kind"] == "not_found"
        failed = http.post("/servey/graphql", json={"query": "{ signIn }"}).json()["errors"]
    assert failed[0]["extensions"]["code"] == "wrong_password"
    assert "Traceback" not in caplog.text


def test_pages_stay_pages(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "greeting.j2").write_text("{{ model }}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with client(app(actions=[greeting], errors=errors)) as http:
        answer = http.get("/greeting?number=x")
    assert answer.status_code == 422 and answer.headers["content-type"].startswith("text/html")


def test_a_validation_handler_of_the_host_does_not_answer_forms(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.exceptions import RequestValidationError

    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "greeting.j2").write_text("{{ model }}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    handlers = {RequestValidationError: lambda request, error: JSONResponse({"host": "invalid"}, 400)}
    api = FastAPI(exception_handlers=handlers)
    Servey(actions=[greeting, search], channels=[], settings=Settings(env="dev")).install(api)
    with client(api) as http:
        page, program = http.get("/greeting?number=x"), http.get("/actions/search?limit=x")
    assert page.status_code == 422 and "<form" in page.text
    assert program.status_code == 400 and program.json() == {"host": "invalid"}


def test_a_failing_errors_function_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with client(app(errors=lambda facts: {}["missing"])) as http:
        answer = http.get("/actions/missing")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no article", "code": "not_found"}
    assert "the app's errors function failed" in caplog.text


def test_it_must_be_a_plain_function() -> None:
    async def wrong(facts: ErrorFacts) -> None:
        return None

    with pytest.raises(ConfigError, match="pass a plain function"):
        app(errors=wrong)


# ------------------------------------------------------------------------------------------------------ RFC 9457


def test_problem_details_by_setting() -> None:
    with client(app(settings=Settings(env="dev", problems=True))) as http:
        missing, invalid = http.get("/actions/missing"), http.post("/actions/store", json={"numbers": [1, "a"]})
        query = http.get("/actions/search?limit=x")
        document = http.get("/openapi.json").json()
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no article",
        "instance": "/actions/missing",
        "code": "not_found",
    }
    assert invalid.json()["errors"][0]["pointer"] == "#/numbers/1"
    assert (query.json()["errors"][0]["in"], query.json()["errors"][0]["parameter"]) == ("query", "limit")
    answers = document["paths"]["/actions/store"]["post"]["responses"]
    assert list(answers["422"]["content"]) == ["application/problem+json"]
    assert list(answers["default"]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize(
    ("accept", "is_problem"),
    [
        ("application/json, application/problem+json", True),
        ("application/problem+json;q=0", False),
        ("application/json", False),
        ("*/*", False),
    ],
)
def test_problem_details_by_accept(accept: str, is_problem: bool) -> None:
    with client(app()) as http:
        answer = http.get("/actions/missing", headers={"Accept": accept})
    assert (answer.headers["content-type"] == "application/problem+json") is is_problem


def test_the_apps_members_are_added_to_a_problem() -> None:
    def with_type(facts: ErrorFacts) -> dict[str, Any]:
        return {"type": f"https://shop.example/problems/{facts.code}"}

    with client(app(errors=with_type)) as http:
        answer = http.get("/actions/missing", headers={"Accept": "application/problem+json"})
    assert answer.json()["type"] == "https://shop.example/problems/not_found"
    assert answer.json()["status"] == 404


def test_openapi_does_not_promise_a_shape_that_the_app_replaces() -> None:
    with client(app(errors=errors)) as http:
        answers = http.get("/openapi.json").json()["paths"]["/actions/store"]["post"]["responses"]
    assert "content" not in answers["422"] and "content" not in answers["default"]
