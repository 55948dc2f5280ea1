"""Errors: readable messages, structured details in the extensions, unexpected errors masked."""

import datetime as dt
from typing import Any

import pytest
from fastapi import HTTPException

from servey import WEB_GET, ActionError, Conflict, NotFound, action
from tests.graphql.graphql_client import graphql_client


class Teapot(ActionError):
    def __init__(self) -> None:
        super().__init__(418, "teapot", {"kind": "pot"})

    def __str__(self) -> str:
        return "I am a teapot"


ERRORS: dict[str, tuple[Any, str, str, Any]] = {
    "text": (NotFound("no such book"), "no such book", "not_found", None),
    "list": (HTTPException(422, [{"loc": ["a"], "msg": "bad"}]), "bad", "http_422", [{"loc": ["a"], "msg": "bad"}]),
    "texts": (HTTPException(400, ["first", "second"]), "first", "http_400", ["first", "second"]),
    "dict": (HTTPException(409, {"message": "taken", "id": 5}), "taken", "http_409", {"message": "taken", "id": 5}),
    "bare dict": (HTTPException(409, {"id": 5}), "Conflict", "http_409", {"id": 5}),
    "number": (ActionError(429, "slow_down", 30), "Too Many Requests", "slow_down", 30),
    "empty": (ActionError(499, "odd", []), "odd", "odd", []),
    "no detail": (HTTPException(402), "Payment Required", "http_402", None),
    "own text": (Teapot(), "I am a teapot", "teapot", {"kind": "pot"}),
    "values": (
        Conflict({"at": dt.date(2026, 1, 2), "of": {1}}),
        "Conflict",
        "conflict",
        {"at": "2026-01-02", "of": [1]},
    ),
    "unexpected": (ValueError({"secret": 1}), "Internal Server Error", "internal", None),
    "unexpected group": (ExceptionGroup("secret", [OSError("secret")]), "Internal Server Error", "internal", None),
}


@action(triggers=WEB_GET)
async def fail(name: str) -> int:
    raise ERRORS[name][0]


@pytest.fixture(scope="module")
def ask():
    with graphql_client(fail) as opened:
        yield opened


@pytest.mark.parametrize("name", ERRORS)
def test_structured_details_are_in_the_extensions(ask, name):
    _, message, code, detail = ERRORS[name]
    response = ask("query($name: String!) { fail(name: $name) }", {"name": name})
    (error,) = response["errors"]
    assert error["message"] == message
    assert error["extensions"] == {"code": code} | ({"detail": detail} if detail is not None else {})
    assert "secret" not in ask.last.text
