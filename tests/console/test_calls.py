"""The console's pages of calls: what is recorded of a call over each transport, and what is not."""

import html
import re

import pytest
from fastapi import Depends
from pydantic import SecretStr

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    Context,
    Settings,
    TtlCacheControl,
    WebTrigger,
    action,
    create_app,
    webhook_event_channel,
    websocket_event_channel,
)
from servey.testing import client, token_for
from tests.console.app import SECRET
from tests.jobs.test_webhooks import OK, receiver
from tests.serving import run

BROWSER = {"Accept": "text/html"}
moves = websocket_event_channel("moves", int)


def scale() -> int:
    return 100


@action(triggers=(WEB_GET, MCP_TOOL))
async def weigh(parcel: int, password: SecretStr | None = None, factor: int = Depends(scale)) -> int:
    await moves.publish(parcel)
    return factor * parcel


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
def price(parcel: int) -> int:
    return parcel


@action(triggers=WEB_POST)
async def fail(kind: str) -> None:
    if kind == "known":
        raise ActionError(409, "conflict", "It is there already")
    if kind == "down":
        raise ActionError(503, "overloaded", "the scale is down")
    raise RuntimeError("the scale <broke>")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


@action(triggers=WEB_POST)
async def fail_oddly(kind: str) -> None:
    raise Mute if kind == "mute" else ActionError(409, "conflict", "There is no file \udcff.txt")


@action(triggers=WEB_GET)
async def quick() -> int:
    return 1


def app(**settings: object):
    made = {"env": "dev", "jwt_secret_key": SECRET, **settings}
    return create_app(
        actions=[weigh, price, fail, fail_oddly, quick],
        channels=[moves],
        settings=Settings(**made),  # type: ignore[arg-type]
    )


@pytest.fixture
def http():
    with client(app()) as made:
        made.get("/_servey")  # from now on steps are recorded
        yield made


def shown(http, request_id: str) -> str:
    """The text of the page of one request."""
    page = http.get(f"/_servey/calls/trace?id={request_id}", headers=BROWSER)
    assert page.status_code == 200, page.text
    return html.unescape(page.text)


def steps(text: str) -> list[str]:
    return re.findall(r'<th scope="row">([a-z]+)', text)


def test_a_call_shows_its_steps(http):
    answer = http.get("/actions/weigh?parcel=7&password=hunter2")
    assert answer.json() == 700
    text = shown(http, answer.headers["x-request-id"])
    assert steps(text) == ["authorize", "decode", "validate", "dependencies", "function", "serialize"]
    assert '"parcel": "7"' in text
    assert "hunter2" not in text
    assert "event moves" in text
    listed = http.get("/_servey/calls", headers=BROWSER).text
    assert "GET /actions/weigh" in listed
    assert "200" in listed


def test_a_secret_in_a_path_is_hidden():
    @action(triggers=WebTrigger("GET", "/reset/{token}"))
    async def reset(token: SecretStr) -> int:
        return 1

    with client(create_app(actions=[reset], settings=Settings(env="dev", jwt_secret_key=SECRET))) as http:
        http.get("/_servey")
        text = shown(http, http.get("/reset/hunter2").headers["x-request-id"])
        listed = http.get("/_servey/calls", headers=BROWSER).text
    assert "GET /reset/{token}" in text and "GET /reset/{token}" in listed
    assert "hunter2" not in text + listed


def test_a_cached_result_is_marked(http):
    first, second = (http.get("/actions/price?parcel=7").headers["x-request-id"] for _ in range(2))
    assert steps(shown(http, first)) == ["authorize", "decode", "validate", "cache", "function", "serialize"]
    assert ("function" in steps(shown(http, first)), ">cached<" in shown(http, first)) == (True, False)
    assert ("function" in steps(shown(http, second)), ">cached<" in shown(http, second)) == (False, True)


def test_an_error_has_its_traceback_in_development(http):
    refused = http.post("/actions/fail", json={"kind": "known"})
    text = shown(http, refused.headers["x-request-id"])
    assert "ActionError: It is there already" in text
    failed = http.post("/actions/fail", json={"kind": "other"})
    assert failed.status_code == 500
    text = shown(http, failed.headers["x-request-id"])
    assert "RuntimeError: the scale <broke>" in text
    assert "test_calls.py" in text
    assert "&lt;broke&gt;" in http.get("/_servey/calls", headers=BROWSER).text
    invalid = http.get("/actions/weigh?parcel=x")
    assert steps(shown(http, invalid.headers["x-request-id"])) == ["authorize", "decode", "validate"]


@pytest.mark.parametrize(
    ("kind", "text"), [("mute", "Mute: (its text raises ValueError)"), ("half", "ActionError: There is no file ?.txt")]
)
def test_an_error_whose_text_cannot_be_shown_leaves_the_pages_intact(http, kind, text):
    failed = http.post("/actions/fail-oddly", json={"kind": kind})
    assert text in shown(http, failed.headers["x-request-id"])
    assert http.get("/_servey/calls", headers=BROWSER).status_code == 200


def test_every_transport_is_recorded_and_filtered(http):
    assert http.post("/graphql", json={"query": "{ weigh(parcel: 2) price(parcel: 3) }"}).json()["data"]["weigh"] == 200
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "weigh", "arguments": {"parcel": 4}}}
    assert http.post("/mcp", json=call).json()["result"]["structuredContent"] == {"result": 400}
    http.get("/actions/quick")

    def titles(query: str) -> list[str]:
        return re.findall(r'class="name"[^>]*>([^<]*)<', http.get(f"/_servey/calls?{query}", headers=BROWSER).text)

    assert titles("") == ["GET /actions/quick", "POST /mcp", "POST /graphql"]
    assert titles("transport=graphql") == titles("action=price") == ["POST /graphql"]
    assert titles("transport=mcp") == ["POST /mcp"]
    assert titles("status=failed") == []
    for odd in ("status=x", "action=<b>", "transport=%00"):
        assert http.get(f"/_servey/calls?{odd}", headers=BROWSER).status_code == 200
    assert http.get("/_servey/calls/trace?id=nothing", headers=BROWSER).status_code == 404
    assert http.get("/_servey/calls/trace", headers=BROWSER).status_code == 404


def test_one_request_leads_to_its_job_and_its_webhook():
    with receiver(OK) as hook:
        parcels = webhook_event_channel("parcels", hook.url, int)

        @action(triggers=WEB_POST)
        async def pack(parcel: int) -> int:
            await parcels.publish(parcel)
            return parcel

        @action(triggers=WEB_POST)
        async def order(parcel: int, context: Context) -> str:
            return await context.enqueue(pack, {"parcel": parcel})

        settings = Settings(env="dev", jwt_secret_key=SECRET)
        with client(create_app(actions=[order, pack], channels=[parcels], settings=settings)) as http:
            http.get("/_servey")
            answer = http.post("/actions/order", json={"parcel": 7})
            request_id = answer.headers["x-request-id"]
            for _ in range(1000):
                text = shown(http, request_id)
                if "webhook parcels</h2>" in text:
                    break
            titles = re.findall(r'<section class="card" id="call-\d+" aria-label="([^"]*)"', text)
            assert titles == ["1. POST /actions/order", "2. pack", "3. webhook parcels"]
            assert "job pack" in text
            assert f"/_servey/jobs/{answer.json()}" in text
            assert request_id in http.get(f"/_servey/jobs/{answer.json()}", headers=BROWSER).text


def test_until_somebody_opens_the_console_routes_keep_their_compiled_form():
    with client(app()) as http:
        ids = [http.post("/actions/fail", json={"kind": kind}).headers["x-request-id"] for kind in ("known", "other")]
        for request_id, error in zip(ids, ("ActionError: It is there already", "RuntimeError: the scale"), strict=True):
            text = shown(http, request_id)
            assert error in text
            assert "Its steps were not recorded" in text
        answer = http.post("/actions/fail", json={"kind": "known"})
        assert "validate" in steps(shown(http, answer.headers["x-request-id"]))


def test_production_records_a_sample_and_every_failure():
    made = app(env="prod", console=True)
    with client(made) as http:
        operator = token_for(made, Authorization("grace", frozenset({"servey:operate"})))
        http.headers["Authorization"] = f"Bearer {operator}"
        ids = [http.get("/actions/quick").headers["x-request-id"] for _ in range(20)]
        failed = http.post("/actions/fail", json={"kind": "down"}).headers["x-request-id"]
        listed = http.get("/_servey/calls", headers=BROWSER).text
        assert "function" in steps(shown(http, ids[0]))
        assert sum(each in listed for each in ids) < 10
        assert failed in listed
        text = shown(http, failed)
        assert "the scale" not in text
        assert "Traceback" not in text


def test_without_a_console_nothing_is_recorded():
    made = app(env="prod")
    with client(made) as http:
        http.get("/actions/quick")
        assert made.runtime.observer is None or made.runtime.observer.recorder is None


def test_sql_is_shown_where_opentelemetry_has_spans_of_it():
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
trace.set_tracer_provider(TracerProvider())
from servey import WEB_GET, Settings, action, create_app
from servey.testing import client

@action(triggers=WEB_GET)
def read() -> int:
    with trace.get_tracer("sql").start_as_current_span(
        "SELECT parcels", kind=SpanKind.CLIENT, attributes={"db.query.text": "SELECT * FROM parcels"}
    ):
        return 1

with client(create_app(actions=[read], settings=Settings(env="dev"))) as http:
    request_id = http.get("/actions/read").headers["x-request-id"]
    page = http.get(f"/_servey/calls/trace?id={request_id}", headers={"Accept": "text/html"}).text
    print(page.count("SELECT * FROM parcels"), "Trace of OpenTelemetry" in page)
"""
    done = run("-c", program)
    assert done.stdout == "1 True\n", done.stderr
