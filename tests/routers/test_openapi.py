"""The OpenAPI document says what is true, and is valid."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header
from openapi_spec_validator import validate
from pydantic import Field

from servey import (
    ALLOW_NONE,
    WEB_GET,
    WEB_POST,
    Authorization,
    Example,
    ScopeAccessControl,
    Servey,
    Settings,
    TimestampCacheControl,
    TtlCacheControl,
    WebTrigger,
    action,
    create_app,
)
from servey.testing import client

DEV = Settings(env="dev")


@dataclass
class Parcel:
    """Something to send."""

    weight: Annotated[float, Field(gt=0, description="in kilograms")]
    inside: "list[Parcel] | None" = None


@dataclass
class Box:
    size: Annotated[float, Field(gt=0)]
    inside: "Box | None" = None


async def paging(skip: int = 0, limit: int = 10) -> tuple[int, int]:
    return skip, limit


@action(
    triggers=(WEB_POST, WebTrigger("PUT", "/parcels/{number}")),
    tags=("parcels",),
    examples=(
        Example("light", {"number": 1, "parcel": {"weight": 0.5}}, result=1, description="A letter"),
        Example("heavy", {"number": 2, "parcel": {"weight": 50}}, result=2, include_in_schema=False),
        Example("wrong", {"number": "x"}, error="invalid_params"),
    ),
)
async def send(number: int, parcel: Parcel, note: str | None = None) -> int:
    """Send a parcel.

    It may hold others.
    """
    return number


@action(triggers=WEB_GET, examples=(Example("found", {"text": "a", "box": {"size": 1}}, result=["a"]),))
async def find(
    text: Annotated[str, Field(description="what to look for")],
    pages: Annotated[tuple[int, int], Depends(paging)],
    x_key: Annotated[str, Header()],
    box: Box | None = None,
) -> list[str]:
    return [text]


@action(triggers=WEB_GET)
async def items() -> AsyncIterator[Parcel]:
    yield Parcel(1)


@action(triggers=WEB_GET, access_control=ScopeAccessControl(("root", "admin")))
async def guarded() -> None: ...


@action(triggers=WEB_GET, access_control=ALLOW_NONE)
async def closed() -> None: ...


@action(triggers=WEB_GET)
async def needs_token(authorization: Authorization) -> None: ...


@action(triggers=WEB_GET)
async def may_have_token(authorization: Authorization | None) -> None: ...


ACTIONS = [send, find, items, guarded, closed, needs_token, may_have_token]


@pytest.fixture(scope="module")
def document():
    return create_app(actions=ACTIONS, settings=DEV, title="Parcels", version="3").openapi()


def test_it_is_valid_openapi_3_1(document):
    assert document["openapi"].startswith("3.1")
    assert document["info"] == {"title": "Parcels", "version": "3"}
    validate(document)


def test_docstrings_become_summaries_and_descriptions(document):
    operation = document["paths"]["/actions/send"]["post"]
    assert (operation["summary"], operation["tags"]) == ("Send a parcel.", ["parcels"])
    assert operation["description"] == "Send a parcel.\n\nIt may hold others."


def test_a_path_parameter_is_not_in_the_body(document):
    operation = document["paths"]["/parcels/{number}"]["put"]
    assert [(each["name"], each["in"]) for each in operation["parameters"]] == [("number", "path")]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(document["components"]["schemas"][reference]["properties"]) == {"parcel", "note"}


def test_query_headers_and_dependencies_are_parameters(document):
    shown = {(each["in"], each["name"]): each for each in document["paths"]["/actions/find"]["get"]["parameters"]}
    assert set(shown) == {
        ("query", "text"),
        ("query", "skip"),
        ("query", "limit"),
        ("header", "x-key"),
        ("query", "box.size"),
        ("query", "box.inside.size"),
    }
    assert shown["query", "text"]["description"] == "what to look for"
    assert shown["query", "text"]["required"]
    assert shown["query", "text"]["examples"] == {"found": {"summary": "found", "value": "a"}}
    assert not shown["query", "box.size"]["required"]
    assert shown["query", "box.size"]["schema"]["exclusiveMinimum"] == 0
    assert shown["query", "box.size"]["examples"] == {"found": {"summary": "found", "value": 1}}


def test_only_the_examples_meant_for_it(document):
    content = document["paths"]["/actions/send"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"] == {"light": {"summary": "A letter", "value": {"number": 1, "parcel": {"weight": 0.5}}}}
    answers = document["paths"]["/actions/send"]["post"]["responses"]["200"]["content"]["application/json"]
    assert answers["examples"] == {"light": {"summary": "A letter", "value": 1}}


def test_security_only_where_guarded(document):
    paths = document["paths"]
    security = {path: operation.get("security") for path in paths for operation in paths[path].values()}
    assert security == {
        "/actions/send": None,
        "/parcels/{number}": None,
        "/actions/find": None,
        "/actions/items": None,
        "/actions/guarded": [{"OAuth2": ["root", "admin"]}],
        "/actions/closed": [{"OAuth2": []}],
        "/actions/needs-token": [{"OAuth2": []}],
        "/actions/may-have-token": [{}, {"OAuth2": []}],
        "/jobs/{id}": None,
        "/login": None,
    }
    assert document["components"]["securitySchemes"] == {
        "OAuth2": {"type": "oauth2", "flows": {"password": {"scopes": {}, "tokenUrl": "login"}}}
    }
    assert {"401", "403"} <= set(paths["/actions/guarded"]["get"]["responses"])
    assert "401" not in paths["/actions/find"]["get"]["responses"]


def test_where_nobody_logs_in_tokens_come_from_elsewhere():
    document = create_app(
        actions=ACTIONS, settings=Settings(jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests", docs=True)
    ).openapi()
    validate(document)
    assert document["components"]["securitySchemes"] == {
        "Bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    assert "/login" not in document["paths"]


def test_a_stream_shows_its_items(document):
    content = document["paths"]["/actions/items"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/jsonl", "text/event-stream"}
    for each in content.values():
        assert each["schema"] == each["x-item-schema"]
        assert each["x-item-schema"]["properties"]["weight"]["description"] == "in kilograms"


def test_errors_are_described(document):
    answers = document["paths"]["/actions/send"]["post"]["responses"]
    assert {"200", "413", "415", "422", "504", "default"} == set(answers)
    assert answers["422"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/InvalidParamsBody"}


def test_a_host_shows_our_routes_in_its_own_document():
    host = FastAPI()

    @host.get("/own")
    def own(number: int) -> Parcel:
        return Parcel(number)

    Servey(actions=ACTIONS, settings=DEV).install(host, prefix="/servey")
    document = host.openapi()
    validate(document)
    assert {"/own", "/servey/actions/send", "/servey/parcels/{number}", "/servey/actions/guarded"} <= set(
        document["paths"]
    )
    assert "/servey/health/live" not in document["paths"]
    assert document["paths"]["/servey/actions/guarded"]["get"]["security"] == [{"OAuth2": ["root", "admin"]}]


def test_production_has_no_pages_unless_asked():
    secret = "a-secret-of-more-than-32-bytes-for-tests"
    for settings, status in (
        (Settings(jwt_secret_key=secret), 404),
        (Settings(jwt_secret_key=secret, docs=True), 200),
        (DEV, 200),
    ):
        with client(create_app(actions=ACTIONS, settings=settings)) as http:
            found = {path: http.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")}
        assert set(found.values()) == {status}, found


def test_pages_need_nothing_from_elsewhere():
    with client(create_app(actions=ACTIONS, settings=DEV, title="<Parcels>")) as http:
        for path in ("/docs", "/redoc"):
            page = http.get(path)
            assert "&lt;Parcels&gt;</title>" in page.text and "<Parcels>" not in page.text
            assert "https://" not in page.text
            assert "script-src 'nonce-" in page.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            for name in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"):
                if f"/_servey/assets/{name}" in page.text:
                    asset = http.get(f"/_servey/assets/{name}")
                    assert (asset.status_code, len(asset.content) > 1000) == (200, True)
        assert http.get("/_servey/assets/core.py").status_code == 404


def test_a_mounted_apps_pages_know_their_prefix():
    from contextlib import asynccontextmanager

    app = create_app(actions=ACTIONS, settings=DEV)

    @asynccontextmanager
    async def lifespan(_):
        async with app.running():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/below", app)
    with client(host) as http:
        assert '"/below/openapi.json"' in http.get("/below/docs").text
        assert http.get("/below/openapi.json").json()["servers"] == [{"url": "/below"}]


def test_rules_and_caches_are_described():
    def is_owner(authorization: Authorization | None, params: dict[str, object]) -> bool:
        return False

    @action(triggers=WEB_GET, access_control=ScopeAccessControl("root") | is_owner)
    async def ruled() -> str: ...

    @action(triggers=WEB_GET)
    async def known(authorization: Authorization) -> str: ...

    @action(triggers=(WEB_GET, WebTrigger("POST", "/dated")), cache_control=TimestampCacheControl("changed"))
    async def dated() -> str: ...

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(30, private=False))
    async def timed() -> str: ...

    document = create_app(actions=[ruled, known, dated, timed], settings=DEV).openapi()
    validate(document)
    paths = document["paths"]
    refused = paths["/actions/ruled"]["get"]["responses"]["403"]
    assert refused["description"] == "Not allowed: (scope root | is_owner)"
    assert paths["/actions/known"]["get"]["responses"]["403"]["description"] == "Not allowed: any valid token"
    told = {path: paths[path][method]["responses"] for path, method in (("/actions/dated", "get"), ("/dated", "post"))}
    assert set(told["/actions/dated"]["200"]["headers"]) == {"Cache-Control", "ETag", "Last-Modified"}
    assert {"304", "412"} <= set(told["/actions/dated"])
    assert set(told["/dated"]["200"]["headers"]) == {"Cache-Control"}
    assert not {"304", "412"} & set(told["/dated"])
    timing = paths["/actions/timed"]["get"]["responses"]["200"]["headers"]
    assert timing["Cache-Control"]["description"] == "How long the response may be cached: 30 s, public"
    assert set(timing) == {"Cache-Control", "Expires", "ETag"}
    assert "headers" not in paths["/actions/ruled"]["get"]["responses"]["200"]
