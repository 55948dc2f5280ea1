"""Generated apps behave like the same apps written with FastAPI."""

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from servey.routers.rest import compiled, rendered
from servey.routers.rest.action_route import ActionRoute
from tests.differential.apps import EVENTS, Twins, generated

OURS_ONLY = {"x-request-id", "content-length", "cache-control", "content-type", "x-content-type-options", "allow"}
QUERIES = ["", "?q=4", "?q=x", "?items=a&items=b", "?name=ada", "?stop=1"]


def requests_of(random: Random, twins: Twins, count: int) -> list[tuple[str, str, dict[str, str]]]:
    return [
        (
            random.choice(("GET", "GET", "GET", "GET", "DELETE")),
            random.choice(twins.paths) + random.choice(QUERIES),
            random.choice(({}, {"X-Name": "ada"})),
        )
        for _ in range(count)
    ]


def outcome(http: TestClient, request: tuple[str, str, dict[str, str]]) -> dict[str, Any]:
    """The parts of a response in which both have to agree; error bodies are each framework's own."""
    method, path, headers = request
    EVENTS.clear()
    raised = None
    try:
        answer = http.request(method, path, headers=headers)
    except Exception as error:
        raised = type(error).__name__
        return {"raised": raised, "events": [*EVENTS]}
    shown = {name: value for name, value in answer.headers.items() if name not in OURS_ONLY}
    same_body = answer.is_success or "x-handled" in answer.headers or "x-whole" in answer.headers
    if same_body:
        shown["content-type"] = answer.headers.get("content-type", "")
    return {
        "status": answer.status_code,
        "headers": shown,
        "body": answer.content if same_body else b"",
        "events": [*EVENTS],
    }


def differences(seeds: Iterable[int], requests: int) -> tuple[list[str], int]:
    found, compared = [], 0
    for seed in seeds:
        twins = generated(seed)
        sent = requests_of(Random(seed), twins, requests)
        with TestClient(twins.fastapi) as wanted_http, TestClient(twins.servey) as http:
            for request in sent:
                wanted, got = outcome(wanted_http, request), outcome(http, request)
                compared += 1
                if wanted != got:
                    parts = [
                        f"{key}: {wanted.get(key)} != {got.get(key)}"
                        for key in wanted | got
                        if wanted.get(key) != got.get(key)
                    ]
                    found.append(f"{twins.text}\n{request}\n" + "\n".join(parts))
    return found, compared


def test_a_sample_of_apps():
    # In the last four an error after the response meets a handler for unexpected errors, without and with middleware.
    found, compared = differences([*range(12), 1036, 1128, 1054, 1105], 8)
    assert compared == 128
    assert not found, f"{len(found)} differences:\n" + "\n\n".join(found[:3])


def swallows_errors(patch: pytest.MonkeyPatch) -> None:
    async def answered(self: ActionRoute, error: Exception, request: Any) -> Response:
        return Response(status_code=500)

    patch.setattr(ActionRoute, "_failed_response", answered)


def adds_headers(patch: pytest.MonkeyPatch) -> None:
    def added(result: Any, content: Any, injected: Any, status: int = 200) -> Response:
        response = rendered.rendered(result, content, injected, status)
        response.headers["X-Added"] = "1"
        return response

    patch.setattr(compiled, "rendered", added)


@pytest.mark.parametrize("plant", [swallows_errors, adds_headers])
def test_a_bug_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    assert differences(range(12), 8)[0]


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_hundreds_of_apps():
    found, compared = differences(range(1000, 1300), 8)
    assert compared >= 2000
    assert not found, f"{len(found)} differences:\n" + "\n\n".join(found[:3])
