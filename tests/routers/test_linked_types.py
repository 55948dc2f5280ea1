"""Types that refer to each other: the work at start and for documents grows with their number, not with the paths."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import BaseModel, create_model
from starlette.testclient import TestClient

from servey import WEB_GET, WEB_POST, action, create_app, websocket_event_channel
from servey.core.settings import Settings

SETTINGS = Settings(env="dev", jwt_secret="s" * 32)


class Point(BaseModel):
    x: int
    y: int


class Line(BaseModel):
    start: Point
    end: Point


def linked(count: int) -> Any:
    """Models of which each has a field for every other one."""
    names = [f"Linked{number}" for number in range(count)]
    space: dict[str, Any] = {}
    for name in names:
        links = {other.lower(): (f"{other} | None", None) for other in names if other != name}
        space[name] = create_model(name, label=(str, ""), **links)
    for model in space.values():
        model.model_rebuild(_types_namespace=space)
    return space["Linked0"]


def chain(levels: int) -> Any:
    """A model with two fields of the next level each, and so on: two to the power of the levels paths."""
    model: type[BaseModel] = create_model("Level0", label=(str, ""))
    for number in range(1, levels):
        model = create_model(f"Level{number}", left=(model, ...), right=(model, ...))
    return model


def counted(work: Callable[[], object]) -> int:
    """The number of Python calls in servey's own code."""
    calls = 0

    def count(frame: Any, event: str, argument: object) -> None:
        nonlocal calls
        if event == "call" and "/servey/" in frame.f_code.co_filename:
            calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def app_of(kind: str, model: Any) -> Any:
    async def one(given: Any = None) -> Any: ...

    async def items() -> Any:
        yield None

    channels = []
    if kind == "result":
        one.__annotations__ = {"given": str, "return": model}
    elif kind == "query":
        one.__annotations__ = {"given": model | None, "return": str}
    elif kind == "body":
        one.__annotations__ = {"given": model | None, "return": model}
    elif kind == "channel":
        one.__annotations__ = {"return": str, "given": str}
        channels = [websocket_event_channel("linked", model)]
    else:
        items.__annotations__ = {"return": AsyncIterator[model]}
    fn = items if kind == "stream" else one
    made = action(triggers=WEB_POST if kind == "body" else WEB_GET, name="linked")(fn)
    return create_app(actions=[made], channels=channels, settings=SETTINGS)


def everything(kind: str, model: Any) -> None:
    """Start an app, and make each document and the GraphQL schema."""
    app = app_of(kind, model)
    app.openapi()
    with TestClient(app) as client:
        assert client.get("/asyncapi.json").status_code in (200, 404)
        assert client.post("/graphql", json={"query": "{__typename}"}).status_code == 200


KINDS = ("result", "query", "body", "stream", "channel")


@pytest.mark.parametrize("kind", KINDS)
def test_the_work_for_models_that_link_to_each_other_grows_with_the_links(kind: str) -> None:
    small, large = linked(8), linked(24)
    everything(kind, small)  # what is imported and cached by the first app
    few = counted(lambda: everything(kind, small))
    many = counted(lambda: everything(kind, large))
    assert many <= 12 * few, (few, many)  # it has 9.9 times the links


@pytest.mark.parametrize("kind", KINDS)
def test_the_work_for_a_chain_grows_with_its_levels(kind: str) -> None:
    short, long = chain(10), chain(40)
    everything(kind, short)
    few = counted(lambda: everything(kind, short))
    many = counted(lambda: everything(kind, long))
    assert many <= 8 * few, (few, many)  # it has 4 times the levels


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_is_in_the_document(kind: str) -> None:
    document = app_of(kind, linked(40)).openapi()
    text = json.dumps(document)
    if kind in ("result", "body", "stream"):
        assert all(f'"Linked{number}' in text for number in range(40))
    assert len(text) < 1_000_000


def test_a_job_takes_a_parameter_of_linked_models() -> None:
    with TestClient(app_of("body", linked(40))) as client:
        taken = client.post("/actions/linked", json={"given": {}}, headers={"Prefer": "respond-async"})
        assert taken.status_code == 202


def test_a_query_of_few_objects_documents_all_their_keys() -> None:
    @action(triggers=WEB_GET)
    async def length(line: Line) -> int:
        return line.end.x - line.start.x

    app = create_app(actions=[length], settings=SETTINGS)
    shown = [each["name"] for each in app.openapi()["paths"]["/actions/length"]["get"]["parameters"]]
    assert shown == ["line.start.x", "line.start.y", "line.end.x", "line.end.y"]


def test_a_list_deep_inside_of_a_query_is_refused() -> None:
    class Item(BaseModel):
        name: str

    inner: Any = create_model("Inner", items=(list[Item], ...))
    for number in range(12):
        inner = create_model(f"Around{number}", inner=(inner, ...))

    async def deep(given: Any) -> str:
        return ""

    deep.__annotations__ = {"given": inner, "return": str}
    with pytest.raises(Exception, match="a list of objects"):
        create_app(actions=[action(triggers=WEB_GET)(deep)], settings=SETTINGS)
