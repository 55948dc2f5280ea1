"""`status_code` of actions and web triggers: both forms of a route answer as FastAPI does, and documents say it."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Response
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from servey import WEB_GET, WEB_POST, ConfigError, Settings, TtlCacheControl, WebTrigger, action, create_app
from servey.testing import client, define_test_class

DEV = Settings(env="dev")
GENERIC = {"Prefer": "handling=lenient"}


def teapot(response: Response) -> None:
    response.status_code = 202


@action(triggers=WEB_POST, status_code=201)
def create(title: str) -> str:
    return title


@action(triggers=[WebTrigger("POST", "/both", 202), WebTrigger("PUT", "/both")], status_code=201)
def both() -> int:
    return 1


@action(triggers=WebTrigger("DELETE", "/things/{id}", status_code=204))
def remove(id: int) -> None: ...


@action(triggers=WEB_POST, status_code=204)
def forget() -> str:
    return "not sent"


@action(triggers=WEB_GET, status_code=203, cache_control=TtlCacheControl(60, private=False))
def cached(n: int) -> int:
    return n


@action(triggers=WEB_POST, status_code=201)
def injected(_: Annotated[None, Depends(teapot)]) -> str:
    return "202, as the dependency says"


@action(triggers=WEB_POST, status_code=201)
def whole() -> PlainTextResponse:
    return PlainTextResponse("its own", 203)


ACTIONS = [create, both, remove, forget, cached, injected, whole]
CALLS = [
    ("POST", "/actions/create", {"json": {"title": "tea"}}, 201, '"tea"'),
    ("POST", "/both", {}, 202, "1"),
    ("PUT", "/both", {}, 201, "1"),
    ("DELETE", "/things/4", {}, 204, ""),
    ("POST", "/actions/forget", {}, 204, ""),
    ("GET", "/actions/cached?n=4", {}, 203, "4"),
    ("GET", "/actions/cached?n=4", {}, 203, "4"),
    ("POST", "/actions/injected", {}, 202, '"202, as the dependency says"'),
    ("POST", "/actions/whole", {}, 203, "its own"),
    ("POST", "/actions/create", {"json": {}}, 422, None),
]


def graphql(http: TestClient, query: str) -> Any:
    return http.post("/graphql", json={"query": query}).json()["data"]


@pytest.mark.parametrize("headers", [{}, GENERIC], ids=["compiled", "generic"])
def test_both_forms_answer_with_the_status_code(headers):
    with client(create_app(actions=ACTIONS, settings=DEV)) as http:
        for method, path, options, status, text in CALLS:
            answer = http.request(method, path, headers=headers, **options)
            assert answer.status_code == status, path
            if text is not None:
                assert answer.text == text
            if status == 204:
                assert "content-length" not in answer.headers
            if "cached" in path:
                assert answer.headers["cache-control"] == "no-store"


def test_other_transports_are_unaffected():
    with client(create_app(actions=ACTIONS, settings=DEV)) as http:
        assert graphql(http, 'mutation { create(title: "tea") }') == {"create": "tea"}
        assert graphql(http, "mutation { forget }") == {"forget": "not sent"}
        later = http.post("/actions/create", json={"title": "tea"}, headers={"Prefer": "respond-async"})
        assert later.status_code == 202


def test_the_document_says_what_fastapi_says():
    def created(title: str) -> str:
        return title

    twin = FastAPI()
    twin.post("/create", status_code=201)(created)
    twin.delete("/remove", status_code=204)(lambda: None)
    assert TestClient(twin).delete("/remove").status_code == 204
    theirs = twin.openapi()["paths"]
    ours: Any = create_app(actions=ACTIONS, settings=DEV).openapi()["paths"]
    made = ours["/actions/create"]["post"]["responses"]
    assert "200" not in made
    assert made["201"]["description"] == theirs["/create"]["post"]["responses"]["201"]["description"]
    assert made["201"]["content"]["application/json"]["schema"]["type"] == "string"
    assert set(ours["/both"]["post"]["responses"]) & {"200", "201", "202"} == {"202"}
    assert set(ours["/both"]["put"]["responses"]) & {"200", "201", "202"} == {"201"}
    for path, method in (("/things/{id}", "delete"), ("/actions/forget", "post")):
        assert ours[path][method]["responses"]["204"] == theirs["/remove"]["delete"]["responses"]["204"]
    assert "200" not in ours["/actions/cached"]["get"]["responses"]
    assert "304" not in ours["/actions/cached"]["get"]["responses"]


def test_examples_of_an_empty_response_run():
    from unittest import TextTestRunner, defaultTestLoader

    from servey import Example

    @action(triggers=WebTrigger("POST", status_code=204), examples=[Example("one", {"n": 1}, 2)])
    def hidden_result(n: int) -> int:
        return n + 1

    app = create_app(actions=[hidden_result], settings=DEV)
    made = define_test_class(app)
    suite = defaultTestLoader.loadTestsFromTestCase(made)
    assert suite.countTestCases() == 4
    assert TextTestRunner(verbosity=0).run(suite).wasSuccessful()
    responses = app.openapi()["paths"]["/actions/hidden-result"]["post"]["responses"]
    assert "content" not in responses["204"]


@pytest.mark.parametrize("status", [99, 304, 404, "201", True])
def test_only_the_code_of_a_success_is_accepted(status):
    with pytest.raises(ConfigError, match="status_code is .*; use the code of a success"):
        WebTrigger("POST", status_code=status)

    with pytest.raises(ConfigError, match=r"action 'act' .*status_code is .*; use the code of a success"):

        @action(triggers=WEB_POST, status_code=status)
        def act() -> None: ...


def test_a_stream_has_no_status_code():
    from collections.abc import AsyncIterator

    @action(triggers=WEB_GET, status_code=201)
    async def stream() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ConfigError, match="is a stream, which answers 200; remove its status_code"):
        create_app(actions=[stream], settings=DEV)
