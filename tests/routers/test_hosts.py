"""Which `Host` a request may name: DNS rebinding reaches nothing of a development server."""

import pytest
from fastapi import FastAPI
from starlette.websockets import WebSocketDisconnect

from servey import WEB_GET, WEB_POST, ConfigError, Servey, Settings, action, create_app, websocket_event_channel
from servey.testing import client

DEV = Settings(env="dev")
EVIL = {"host": "evil.example"}
news = websocket_event_channel("news", str)


@action(triggers=[WEB_GET, WEB_POST])
async def hello() -> str:
    return "hello"


def app(settings: Settings = DEV) -> Servey:
    return create_app(actions=[hello], channels=[news], settings=settings)


PATHS = [
    ("POST", "/actions/hello"),
    ("GET", "/actions/hello"),
    ("POST", "/login"),
    ("GET", "/login"),
    ("GET", "/_servey"),
    ("POST", "/graphql"),
    ("GET", "/graphiql"),
    ("GET", "/asyncapi"),
    ("GET", "/asyncapi.json"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/jobs/x"),
    ("GET", "/subscription/news"),
    ("GET", "/health/live"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_development_refuses_a_foreign_host(method, path):
    with client(app()) as http:
        answer = http.request(method, path, headers=EVIL)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "SERVEY_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/subscription", "/subscription/news", "/graphql"])
def test_development_refuses_websockets_of_a_foreign_host(path):
    with client(app()) as http, pytest.raises(WebSocketDisconnect), http.websocket_connect(path, headers=EVIL):
        pass


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("LOCALHOST.:8000", True),
        ("shop.localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("127.8.8.8", True),
        ("[::1]:8000", True),
        ("testserver", True),
        ("web:8000", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:8000", False),
        ("192.0.2.7", False),
        ("[2001:db8::1]", False),
        ("localhost:evil", False),
        ("localhost@evil.example", False),
        ("evil.example, localhost", False),
        ("", False),
    ],
)
def test_loopback_names(host, served):
    with client(app()) as http:
        assert (http.get("/actions/hello", headers={"host": host}).status_code == 200) is served


def test_two_hosts_are_none():
    with client(app()) as http:
        headers = [("host", "localhost"), ("host", "evil.example")]
        assert http.get("/actions/hello", headers=headers).status_code == 403


def test_the_address_that_the_server_listens_on():
    with client(app()) as http:
        http.base_url = "http://192.0.2.7:8000"
        assert http.get("/actions/hello").status_code == 200


@pytest.mark.parametrize("env", ["dev", "prod"])
def test_the_list_holds_in_production_too(env):
    settings = Settings(env=env, allowed_hosts=("shop.example", "*.stage.example"))
    with client(app(settings)) as http:
        status = {
            host: http.get("/actions/hello", headers={"host": host}).status_code
            for host in ("shop.example:443", "a.stage.example", "stage.example", "evil.example", "xshop.example")
        }
    assert status == {
        "shop.example:443": 200,
        "a.stage.example": 200,
        "stage.example": 403,
        "evil.example": 403,
        "xshop.example": 403,
    }


def test_production_serves_every_host_by_default():
    with client(app(Settings(env="prod"))) as http:
        assert http.get("/actions/hello", headers=EVIL).status_code == 200


@pytest.mark.parametrize("name", ["https://shop.example", "shop.example:80", "shop.example/x", "*shop.example", "a*.b"])
def test_a_name_that_is_none(name, monkeypatch):
    monkeypatch.setenv("SERVEY_ALLOWED_HOSTS", f"ok.example,{name}")
    with pytest.raises(ConfigError, match=r"SERVEY_ALLOWED_HOSTS: .*write"):
        Settings()


def test_installed_only_our_own_routes_are_checked():
    host = FastAPI()

    @host.get("/own")
    async def own() -> str:
        return "own"

    app().install(host, prefix="/servey")
    with client(host) as http:
        assert http.get("/own", headers=EVIL).status_code == 200
        for method, path in [("POST", "/actions/hello"), ("POST", "/graphql"), ("POST", "/login"), ("GET", "/jobs/x")]:
            assert http.request(method, f"/servey{path}", headers=EVIL).status_code == 403, path
        assert http.post("/servey/actions/hello").status_code == 200
        with pytest.raises(WebSocketDisconnect), http.websocket_connect("/servey/subscription/news", headers=EVIL):
            pass


def test_mounted_it_is_checked_too():
    host = FastAPI()
    served = app()
    host.mount("/servey", served)
    with client(host) as http:
        assert http.post("/servey/actions/hello", headers=EVIL).status_code == 403


def test_pages_of_an_allowed_origin_may_use_any_name():
    settings = Settings(env="dev", cors_allowed_origins=("https://shop.example",))
    with client(create_app(actions=[hello], settings=settings)) as http:
        statuses = {
            origin: http.get("/actions/hello", headers={"host": "api.example", "origin": origin}).status_code
            for origin in ("https://shop.example:443", "https://evil.example", "http://api.example")
        }
    assert statuses == {"https://shop.example:443": 200, "https://evil.example": 403, "http://api.example": 403}
