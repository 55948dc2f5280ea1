"""`deprecated` and `responses` of an action, in documents; compared with the same route of FastAPI."""

from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from servey import WEB_GET, ConfigError, NotFound, Settings, WebTrigger, action, create_app
from servey.testing import client
from tests.graphql.graphql_client import schema_of

DEV = Settings(env="dev")


class Opaque:
    pass


class Problem(BaseModel):
    title: str


RESPONSES: dict[int | str, Any] = {
    404: {"model": Problem},
    "409": {"model": Problem, "description": "Taken"},
    410: {"description": "Gone for good"},
    "5XX": {"model": Problem},
}


@action(triggers=WebTrigger("GET", "/article"), deprecated=True, responses=RESPONSES)
def article() -> str:
    return "text"


@action(triggers=WEB_GET, responses={404: Problem, 422: Problem})
def draft() -> str:
    raise NotFound("no draft")


@action(triggers=WEB_GET)
def current() -> str:
    return "text"


def documented(app: FastAPI, path: str) -> dict[str, Any]:
    operation: dict[str, Any] = app.openapi()["paths"][path]["get"]
    return operation


def test_the_document_says_what_fastapi_says():
    twin = FastAPI()
    twin.get("/article", deprecated=True, responses=RESPONSES)(lambda: "text")
    theirs = documented(twin, "/article")
    ours = documented(create_app(actions=[article], settings=DEV), "/article")
    assert ours["deprecated"] is theirs["deprecated"] is True
    for status in ("404", "409", "410", "5XX"):
        assert ours["responses"][status] == theirs["responses"][status]


def test_a_type_alone_is_a_model_and_replaces_what_servey_documents():
    responses = documented(create_app(actions=[draft], settings=DEV), "/actions/draft")["responses"]
    for status in ("404", "422"):
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
    assert responses["422"]["description"] == "Invalid parameters"
    assert "504" in responses


def test_no_response_changes():
    with client(create_app(actions=[article, draft], settings=DEV)) as http:
        assert http.get("/article").json() == "text"
        assert http.get("/actions/draft").json() == {"detail": "no draft", "code": "not_found"}


def test_graphql_marks_a_deprecated_action_only():
    schema = schema_of(article, current)
    assert "article: String! @deprecated" in schema
    assert "current: String!\n" in schema


def test_a_deprecated_action_is_marked_nowhere_else():
    assert "deprecated" not in documented(create_app(actions=[current], settings=DEV), "/actions/current")


@pytest.mark.parametrize(
    ("responses", "problem"),
    [
        ({1000: Problem}, "responses has the key 1000; use a status code"),
        ({"missing": Problem}, "responses has the key 'missing'; use a status code"),
        ({True: Problem}, "responses has the key True; use a status code"),
        ({204: Problem}, "responses has a model for 204, which has no body"),
        ({404: Opaque}, r"responses\[404\] is no type that pydantic can document"),
        ({404: 5}, r"responses\[404\] is no type that pydantic can document"),
        ([404], "responses is \\[404\\]; write e.g. responses={404: Problem}"),
    ],
)
def test_a_mistake_is_named_with_its_place(responses, problem):
    with pytest.raises(ConfigError, match=f"action 'wrong' .*test_declared_responses.py:.*{problem}"):

        @action(triggers=WEB_GET, responses=responses)
        def wrong() -> int:
            return 1

        create_app(actions=[wrong], settings=DEV)


def test_deprecated_is_a_bool():
    with pytest.raises(ConfigError, match="deprecated is 'yes'; write True or False"):

        @action(triggers=WEB_GET, deprecated="yes")  # type: ignore[call-overload]
        def wrong() -> int:
            return 1

        create_app(actions=[wrong], settings=DEV)
