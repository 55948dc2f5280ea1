"""The part `token_source`: one answer to where a token is, for every transport that has headers."""

import pytest
from fastapi.security import APIKeyCookie

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ConfigError,
    Parts,
    ScopeAccessControl,
    SecureHashCacheControl,
    Settings,
    action,
    create_app,
    websocket_event_channel,
)
from servey.testing import client, token_for

SETTINGS = Settings(jwt_secret_key="0123456789abcdef" * 2, cors_allowed_origins=("https://shop.example",))
OWN = {"Origin": "http://testserver"}


class SessionCookie:
    """The token is in a cookie or in a header of its own."""

    vary = ("Cookie", "X-Token")
    scheme = APIKeyCookie(name="session", auto_error=False)

    def token_of(self, headers, cookies):
        return headers.get("x-token") or cookies.get("session")


@action(triggers=WEB_GET, cache_control=SecureHashCacheControl(), access_control=ScopeAccessControl("shop"))
def read(authorization: Authorization) -> str | None:
    return authorization.subject_id


@action(triggers=WEB_POST)
def write(authorization: Authorization) -> str | None:
    return authorization.subject_id


news = websocket_event_channel("news", str, access_control=ScopeAccessControl("shop"))


@pytest.fixture(scope="module")
def app():
    parts = Parts(token_source=lambda settings: SessionCookie())
    return create_app(actions=[read, write], channels=[news], settings=SETTINGS, parts=parts)


@pytest.fixture
def http(app):
    with client(app) as http:
        yield http


@pytest.fixture
def token(app):
    return token_for(app, Authorization("ada", frozenset({"shop"})))


def test_http_reads_it(http, token):
    assert http.get("/actions/read").status_code == 401
    assert http.get("/actions/read", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert http.get("/actions/read", headers={"X-Token": token}).json() == "ada"
    http.cookies["session"] = token
    answer = http.get("/actions/read")
    assert answer.json() == "ada"
    assert {each.strip() for each in answer.headers["vary"].split(",")} >= {"Cookie", "X-Token"}
    assert http.post("/graphql", json={"query": "{ read }"}, headers=OWN).json() == {"data": {"read": "ada"}}
    job = http.post("/actions/write", headers={**OWN, "Prefer": "respond-async"})
    assert http.get(job.headers["location"]).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 401), ("https://evil.example", 401), ("http://testserver", 200), ("https://shop.example", 200)],
)
def test_a_cookie_counts_for_changes_of_known_origins_only(http, token, origin, status):
    http.cookies["session"] = token
    headers = {} if origin is None else {"Origin": origin}
    assert http.post("/actions/write", headers=headers).status_code == status
    query = {"query": "mutation { write }"}
    assert ("errors" in http.post("/graphql", json=query, headers=headers).json()) == (status == 401)
    # A browser sends a password that it knows with the requests of other sites too.
    basic = {**headers, "Authorization": "Basic YWRhOng="}
    assert http.post("/actions/write", headers=basic).status_code == status
    # What a page of another site cannot send needs no check.
    http.cookies.clear()
    assert http.post("/actions/write", headers={**headers, "X-Token": token}).status_code == 200


def test_websockets_read_it(http, token):
    http.cookies["session"] = token
    for headers, expected in ((OWN, "Subscribed"), ({}, "Error")):
        with http.websocket_connect("/subscription", headers=headers) as socket:
            socket.send_json({"type": "Subscribe", "payload": "news"})
            assert socket.receive_json()["type"] == expected


def test_connection_init_reads_it(http, token):
    for payload, expected in (
        ({"X-Token": token}, "ada"),
        ({"headers": {"x-token": token}}, "ada"),
        ({"Cookie": token}, None),
    ):
        with http.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
            socket.send_json({"type": "connection_init", "payload": payload})
            socket.receive_json()
            socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": "{ read }"}})
            assert (socket.receive_json()["payload"].get("data") or {}).get("read") == expected


def test_connection_init_does_not_make_the_cookies_of_a_foreign_page_count():
    class HeaderOrCookie:
        vary = ("Authorization", "Cookie")

        def token_of(self, headers, cookies):
            return headers.get("authorization") or cookies.get("session")

    settings = SETTINGS.model_copy(update={"cors_allowed_origins": ("*",)})
    app = create_app(actions=[read], settings=settings, parts=Parts(token_source=lambda settings: HeaderOrCookie()))
    headers = {
        "Origin": "https://evil.example",
        "Cookie": f"session={token_for(app, Authorization('ada', frozenset({'shop'})))}",
    }
    with client(app) as http:
        for payload in ({}, {"Authorization": ""}):
            with http.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"], headers=headers) as socket:
                socket.send_json({"type": "connection_init", "payload": payload})
                socket.receive_json()
                socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": "{ read }"}})
                assert "errors" in socket.receive_json()["payload"]


def test_openapi_names_it(app):
    document = app.openapi()
    assert document["paths"]["/actions/read"]["get"]["security"] == [{"APIKeyCookie": ["shop"]}]
    assert document["components"]["securitySchemes"]["APIKeyCookie"]["name"] == "session"


def test_a_source_says_which_headers_it_reads():
    class Forgetful:
        def token_of(self, headers, cookies):
            return None

    with pytest.raises(ConfigError, match="which has no vary"):
        create_app(actions=[read], settings=SETTINGS, parts=Parts(token_source=lambda settings: Forgetful()))
