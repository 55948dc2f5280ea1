"""REST: query strings."""

from typing import Annotated

import pytest
from fastapi import Body, Query

from servey import (
    WEB_GET,
    WEB_POST,
    ConfigError,
    Settings,
    action,
    create_app,
)
from tests.routers.rest_app import DEV, Spot, look, serve


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=true", {"name": "true"}),
        ("name=1", {"name": "1"}),
        ("name=null", {"name": "null"}),
        ("name=", {"name": ""}),
        ("name", {"name": ""}),
        ("name=a%20b+c%26", {"name": "a b c&"}),
        ("name=%E2%98%83", {"name": "☃"}),
        ("name=first&name=last", {"name": "last"}),
        ("n=1&n=2", {"n": 2}),
        ("tags=one", {"tags": ["one"]}),
        ("tags=one&tags=two", {"tags": ["one", "two"]}),
        ("tags=", {"tags": [""]}),
        ("colors=red&colors=green&colors=red", {"colors": ["green", "red"]}),
        ("p.x=1", {"p": {"x": 1, "label": "here", "inner": None}}),
        ("p.x=1&p.label=hey", {"p": {"x": 1, "label": "hey", "inner": None}}),
        (
            "p.x=1&p.inner.x=2&p.inner.inner.x=3&p.inner.inner.label=z",
            {
                "p": {
                    "x": 1,
                    "label": "here",
                    "inner": {"x": 2, "label": "here", "inner": {"x": 3, "label": "z", "inner": None}},
                }
            },
        ),
        ("unknown=1&p.x=1&p.unknown=2&&=&", {"p": {"x": 1, "label": "here", "inner": None}}),
    ],
)
def test_queries(query, expected):
    with serve(look) as http:
        answer = http.get(f"/actions/look?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"p": None, "tags": None, "colors": [], "name": "", "n": 0, **expected}


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("n=x", ["query", "n"]),
        ("p.x=x", ["query", "p", "x"]),
        ("p.label=only", ["query", "p", "x"]),
        ("p.x=1&p.inner.x=y", ["query", "p", "inner", "x"]),
        ("p=flat", ["query", "p"]),
        ("colors=blue", ["query", "colors", 0]),
    ],
)
def test_errors_say_where(query, loc):
    with serve(look) as http:
        answer = http.get(f"/actions/look?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == loc


def test_strictness_refuses_what_nobody_asked_for():
    with serve(look, settings=Settings(env="dev", strict_schema=True)) as http:
        for url, loc in (("?unknown=1", ["query", "unknown"]), ("?p.x=1&p.y=2", ["query", "p", "y"])):
            answer = http.get(f"/actions/look{url}")
            assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, loc)
        answer = http.post("/actions/look", json={"n": 1, "unknown": 2})
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "unknown"])
        assert http.post("/actions/look", json={"n": 1}).status_code == 200


@pytest.mark.parametrize("annotation", [list[Spot], dict[str, int], list[dict[str, int]], dict, tuple[Spot, int]])
def test_what_a_query_can_not_hold(annotation):
    def ask(value):
        return 1

    ask.__annotations__ = {"value": annotation, "return": int}
    with pytest.raises(ConfigError, match=r"action 'ask' \(.*\): parameter 'value' is a (list of objects|dict)"):
        create_app(actions=[action(triggers=WEB_GET)(ask)], settings=DEV)
    create_app(actions=[action(triggers=WEB_POST)(ask)], settings=DEV)


def test_an_explicit_query_parameter_stays_one_beside_a_body():
    @action(triggers=WEB_POST)
    def mix(
        text: Annotated[str, Body()], page: Annotated[int, Query(ge=1)] = 1, size: int = Query(10, alias="page-size")
    ):
        return [text, page, size]

    with serve(mix) as http:
        assert http.post("/actions/mix?page=3&page-size=5", json={"text": "t", "page": 9}).json() == ["t", 3, 5]
        bad = http.post("/actions/mix?page=0", json={"text": "t"})
    assert bad.json()["detail"][0]["loc"] == ["query", "page"]
