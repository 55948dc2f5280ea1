"""`servey actions`: the list, generated code, and how an action is served."""

import json

import pytest


def test_actions_are_listed(servey, project):
    code, output, _ = servey(project, "actions")
    lines = output.splitlines()
    assert code == 0
    assert lines[0].split() == ["ACTION", "EXPOSED", "AT", "ACCESS", "SUMMARY"]
    rows = {line.split()[0]: line for line in lines[1:] if not line.startswith(" ")}
    assert "GET /actions/say-hello" in rows["say_hello"]
    assert "Greet a user!" in rows["say_hello"]
    assert any(line.strip() == "POST /actions/say-hello" for line in lines)
    assert "scope root" in rows["only_for_root"]
    assert "any valid token" in rows["must_know"]
    assert any("it needs the request, as 'request'" in line for line in lines)


def test_actions_for_programs(servey, project):
    rows = {row["name"]: row for row in json.loads(servey(project, "actions", "--json")[1])}
    assert rows["say_hello"]["places"] == [
        "GET /actions/say-hello",
        "POST /actions/say-hello",
        "GraphQL query sayHello",
        "GraphQL mutation sayHello",
    ]
    assert rows["say_hello"]["defined_at"] == "actions.py:17"


def test_the_compiled_code_of_an_action(servey, project):
    code, output, errors = servey(project, "actions", "--source", "say_hello")
    assert (code, errors) == (0, "")
    get, post = output.split("# POST /actions/say-hello\n")
    assert get.startswith("# GET /actions/say-hello\nasync def serve(scope, receive, send, ")
    assert post.startswith("async def serve(")
    compile(output, "generated", "exec")


def test_a_route_that_is_not_compiled_says_why(servey, tmp_path):
    (tmp_path / "actions.py").write_text(STREAMED, encoding="utf-8")
    assert servey(tmp_path, "actions", "--source", "count") == (
        0,
        "# GET /actions/count\n# not compiled: it is a stream\n\n",
        "",
    )


EXPLAINED = """
from collections.abc import AsyncIterator
from fastapi import Depends
from servey import WEB_GET, WEB_POST, TtlCacheControl, action
from starlette.responses import Response

@action(triggers=(WEB_GET, WEB_POST), cache_control=TtlCacheControl(60))
async def kept(n: int = 0) -> int:
    return n

@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def guarded(n: int = Depends(lambda: 1)) -> int:
    return n

@action(triggers=WEB_GET)
async def whole() -> Response:
    return Response()

@action(triggers=WEB_GET)
async def count() -> AsyncIterator[int]:
    yield 1
"""

FORM = "  compiled; generic for Prefer: respond-async, and for requests with invalid input\n"


@pytest.mark.parametrize(
    ("name", "explained"),
    [
        (
            "kept",
            f"GET /actions/kept\n{FORM}  cached results: kept as bytes\nPOST /actions/kept\n{FORM}"
            "  cached results: encoded for each request: only a GET is recognized by its address\n",
        ),
        (
            "guarded",
            f"GET /actions/guarded\n{FORM}"
            "  cached results: encoded for each request: it has dependencies, which run for each request\n",
        ),
        ("whole", "GET /actions/whole\n  compiled; generic for requests with invalid input\n"),
        ("count", "GET /actions/count\n  generic: it is a stream\n"),
    ],
)
def test_how_an_action_is_served_is_explained(servey, tmp_path, name, explained):
    (tmp_path / "actions.py").write_text(EXPLAINED, encoding="utf-8")
    assert servey(tmp_path, "actions", "--explain", name) == (0, explained, "")


def test_an_explanation_needs_a_route(servey, project):
    code, output, errors = servey(project, "actions", "--explain", "nothing")
    assert (code, output) == (1, "")
    assert errors.startswith("error: no action 'nothing' has a REST route")


STREAMED = """
from collections.abc import AsyncIterator
from servey import WEB_GET, action

@action(triggers=WEB_GET)
async def count() -> AsyncIterator[int]:
    yield 1
"""


def test_the_code_of_an_action_without_a_route(servey, project):
    code, output, errors = servey(project, "actions", "--source", "nothing")
    assert (code, output) == (1, "")
    assert errors.startswith("error: no action 'nothing' has a REST route; these have: ")
    assert "say_hello" in errors
