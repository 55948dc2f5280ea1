"""One setting for an app that a proxy or gateway serves below a path."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from servey import WEB_GET, Servey, Settings, WebPageTrigger, action, create_app, websocket_event_channel
from servey.core.errors import ConfigError


@action(triggers=(WEB_GET, WebPageTrigger()))
async def hello(name: str = "World") -> str:
    return name


news = websocket_event_channel("news", str)


def app() -> Servey:
    settings = Settings(env="dev", root_path="/api", login_password="x" * 12)
    return create_app(actions=[hello], channels=[news], settings=settings)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "hello.j2").write_text("{{ model }}", encoding="utf-8")
    (tmp_path / "static_site" / "sub").mkdir(parents=True)
    (tmp_path / "static_site" / "sub" / "index.html").write_text("sub", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# A proxy may strip the prefix (`stripped`) or pass the whole path.
@pytest.fixture(params=["", "/api"], ids=["stripped", "whole"])
def root(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_urls_contain_the_root_path(root: str) -> None:
    with TestClient(app(), follow_redirects=False) as http:
        assert http.get(f"{root}/actions/hello?name=x").json() == "x"
        assert http.get(f"{root}/openapi.json").json()["servers"] == [{"url": "/api"}]
        assert "/api/openapi.json" in http.get(f"{root}/docs").text
        assert "/api/graphql" in http.get(f"{root}/graphiql").text
        assert http.get(f"{root}/sub").headers["location"] == "/api/sub/"
        later = http.get(f"{root}/actions/hello", headers={"Prefer": "respond-async"})
        assert later.headers["location"].startswith("/api/jobs/")
        assert http.get(f"{root}{later.headers['location'].removeprefix('/api')}").status_code == 200
        (server,) = http.get(f"{root}/asyncapi.json").json()["servers"].values()
        assert server["pathname"] == "/api"


def test_the_login_stays_below_it(root: str) -> None:
    with TestClient(app(), follow_redirects=False) as http:
        form = http.get(f"{root}/login", headers={"Accept": "text/html"})
        assert 'action="/api/login"' in form.text
        made = http.post(
            f"{root}/login",
            data={"username": "root", "password": "x" * 12, "next": "/api/hello"},
            headers={"Accept": "text/html"},
        )
        assert made.headers["location"] == "/api/hello"
        assert "Path=/api" in made.headers["set-cookie"]


def test_channels_and_graphql_are_found(root: str) -> None:
    with TestClient(app()) as http:
        assert http.post(f"{root}/graphql", json={"query": "{ hello }"}).json() == {"data": {"hello": "World"}}
        with http.websocket_connect(f"{root}/subscription") as socket:
            socket.send_json({"type": "Subscribe", "payload": "news"})
            assert socket.receive_json()["type"] == "Subscribed"


def test_inside_a_host_the_hosts_path_counts() -> None:
    made = app()

    def lifespan(api: FastAPI) -> object:
        return made.running()

    api = FastAPI(lifespan=lifespan)  # type: ignore[arg-type]
    api.mount("/servey", made)
    with TestClient(api) as http:
        later = http.get("/servey/actions/hello", headers={"Prefer": "respond-async"})
    assert later.headers["location"].startswith("/servey/jobs/")


@pytest.mark.parametrize("wrong", ["api", "/api/", "/", "/a b"])
def test_it_is_a_path(wrong: str) -> None:
    with pytest.raises(ConfigError, match="SERVEY_ROOT_PATH"):
        Settings(root_path=wrong)
