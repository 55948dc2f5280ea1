"""`SERVEY_TOKEN_SCHEMES` holds wherever an Authorization header is read."""

import json

import pytest

from servey import (
    WEB_GET,
    Authorization,
    ConfigError,
    Context,
    ScopeAccessControl,
    Settings,
    WebPageTrigger,
    WebTrigger,
    action,
    create_app,
    websocket_event_channel,
)
from servey.testing import client, token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
GENERIC = {"Prefer": "handling=lenient"}


@action(triggers=WEB_GET)
async def who(authorization: Authorization) -> str | None:
    return authorization.subject_id


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
async def guarded() -> str:
    return "ada"


@action(triggers=WebTrigger("POST", "/later"))
async def later(authorization: Authorization, context: Context) -> str:
    return await context.enqueue(who, {})


@action(triggers=WebPageTrigger())
async def page(authorization: Authorization) -> str | None:
    return authorization.subject_id


guarded_events = websocket_event_channel("guarded_events", str, access_control=ScopeAccessControl("root"))


def app_of(**settings):
    return create_app(
        actions=[who, guarded, later, page],
        channels=[guarded_events],
        settings=Settings(**{"env": "dev", "jwt_secret_key": SECRET, **settings}),
    )


def rest(http, headers):
    found = {
        http.get(f"/actions/{path}", headers=headers | more).status_code for path in PATHS for more in ({}, GENERIC)
    }
    assert len(found) == 1
    return found == {200}


def page_(http, headers):
    return http.get("/page", headers=headers).status_code == 200


def graphql(http, headers):
    return "errors" not in http.post("/graphql", json={"query": "{ who guarded }"}, headers=headers).json()


def graphql_socket(http, headers):
    return _over_socket(http, headers, {})


def graphql_socket_payload(http, headers):
    return _over_socket(http, {}, headers)


def websocket(http, headers):
    with http.websocket_connect("/subscription", headers=headers) as socket:
        socket.send_json({"type": "Subscribe", "payload": "guarded_events"})
        return socket.receive_json()["type"] == "Subscribed"


def sse(http, headers):
    return http.head("/subscription/guarded_events", headers=headers | ACCEPT_EVENTS).status_code == 200


def job(http, headers):
    posted = http.post("/later", headers=headers)
    return posted.status_code == 200 and http.get(f"/jobs/{posted.json()}", headers=headers).status_code == 200


PATHS = ("who", "guarded")
ACCEPT_EVENTS = {"Accept": "text/event-stream"}
TRANSPORTS = [rest, page_, graphql, graphql_socket, graphql_socket_payload, websocket, sse, job]


def _over_socket(http, headers, payload):
    with http.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"], headers=headers) as socket:
        socket.send_text(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(socket.receive_text()) == {"type": "connection_ack"}
        socket.send_text(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{ who guarded }"}}))
        return "errors" not in json.loads(socket.receive_text())["payload"]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("schemes", "accepted", "refused"),
    [
        (None, ("Bearer", "bearer"), ("Token", "Basic")),
        ("Bearer, Token", ("Bearer", "BEARER", "Token", "token"), ("Tokens", "Basic")),
        ("Token", ("Token", "tOKEN"), ("Bearer", "bearer")),
    ],
)
def test_every_transport_honours_them(monkeypatch, tmp_path, transport, schemes, accepted, refused):
    if schemes is not None:
        monkeypatch.setenv("SERVEY_TOKEN_SCHEMES", schemes)
    (tmp_path / "page.j2").write_text("{{ model }}", encoding="utf-8")
    app = app_of(template_path=str(tmp_path))
    token = token_for(app, Authorization("ada", frozenset({"root"})))
    with client(app) as http:
        found = {scheme: transport(http, {"Authorization": f"{scheme} {token}"}) for scheme in accepted + refused}
    assert found == dict.fromkeys(accepted, True) | dict.fromkeys(refused, False)


@pytest.mark.parametrize("value", ["", ",", "Two words", "Bearer,To:ken", "Tökén"])
def test_an_invalid_scheme_stops_the_start(monkeypatch, value):
    monkeypatch.setenv("SERVEY_TOKEN_SCHEMES", value)
    with pytest.raises(ConfigError, match="SERVEY_TOKEN_SCHEMES"):
        app_of()
