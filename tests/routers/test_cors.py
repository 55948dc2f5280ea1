"""Pages of other origins may read every answer, errors too, where the settings let them."""

import logging

import pytest

from servey import WEB_GET, Settings, action, create_app
from servey.testing import client

ORIGIN = {"Origin": "https://friend.example"}


@action(triggers=WEB_GET)
async def hello(number: int = 1) -> int:
    return 10 // number


@pytest.fixture(scope="module")
def http():
    app = create_app(actions=[hello], settings=Settings(cors_allowed_origins=("https://friend.example",)))

    @app.get("/own")
    async def own() -> None:
        raise RuntimeError("secret")

    with client(app) as http:
        yield http


@pytest.mark.parametrize(
    ("path", "status"),
    [("/actions/hello", 200), ("/actions/hello?number=x", 422), ("/actions/hello?number=0", 500), ("/nowhere", 404), ("/own", 500)],
)  # fmt: skip
def test_it_stands_on_every_answer(http, path, status, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    answer = http.get(path, headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://friend.example")
    assert "secret" not in answer.text
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-request-id"]


def test_another_origin_is_not_let_in(http):
    assert (
        "access-control-allow-origin"
        not in http.get("/actions/hello", headers={"Origin": "https://evil.example"}).headers
    )


def test_a_preflight(http):
    asked = {**ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    answer = http.options("/actions/hello", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-headers"]) == (200, "authorization")
