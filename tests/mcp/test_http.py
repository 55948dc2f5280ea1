"""The endpoint on the wire: versions, headers, methods, sizes, origins; in a host, mounted, and by many processes."""

from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response

from servey import MCP_TOOL, Authorization, ScopeAccessControl, Settings, action, create_app
from servey.testing import client, token_for
from tests.mcp.agents import META, MODERN, agent


@action(triggers=MCP_TOOL)
async def add(a: int, b: int = 2) -> int:
    return a + b


@action(triggers=MCP_TOOL, access_control=ScopeAccessControl("admin"))
async def admin() -> str:
    return "in"


def app_of(**settings: Any) -> Any:
    return create_app(actions=[add, admin], settings=Settings(**{"env": "dev"} | settings))


@contextmanager
def posting(app: Any = None, path: str = "/mcp"):
    with client(app or app_of()) as http:

        def post(
            method: str, params: dict | None = None, *, id: Any = 1, headers: Any = (), **more: Any
        ) -> httpx.Response:
            body = {"jsonrpc": "2.0", "id": id, "method": method, **({"params": params} if params is not None else {})}
            return http.post(path, json=body | more, headers=dict(headers))

        post.http = http
        yield post


def modern(method: str, **params: Any) -> dict[str, Any]:
    named = {"Mcp-Name": params["name"]} if "name" in params else {}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method} | named
    return {"method": method, "params": {**params, "_meta": META}, "headers": headers}


# ----------------------------------------------------------------------------------------------- the older generation


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("2025-11-25", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999", "2025-11-25")],
)
def test_a_handshake_agrees_on_a_version(asked, answered):
    with posting() as post:
        result = post("initialize", {"protocolVersion": asked, "capabilities": {}, "clientInfo": {}}).json()["result"]
    assert result["protocolVersion"] == answered
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert result["serverInfo"] == {"name": "Servey", "version": "0.1.0"}


def test_the_app_introduces_itself():
    app = create_app(actions=[add], settings=Settings(env="dev"), title="Shop", version="3.1", description="Sells tea.")
    with posting(app) as post:
        result = post("initialize", {"protocolVersion": "2025-11-25"}).json()["result"]
    assert result["serverInfo"] == {"name": "Shop", "version": "3.1"}
    assert result["instructions"] == "Sells tea."


def test_there_are_no_sessions():
    with posting() as post:
        answer = post("tools/call", {"name": "add", "arguments": {"a": 1}}, headers={"Mcp-Session-Id": "forged"})
        assert answer.json()["result"]["structuredContent"] == {"result": 3}
        assert "mcp-session-id" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        for method in ("GET", "DELETE"):
            refused = post.http.request(method, "/mcp")
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_notifications_and_responses_are_accepted():
    with posting() as post:
        for body in (
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 1, "result": {}},
        ):
            answer = post.http.post("/mcp", json=body)
            assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": NaN}}', -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"3", -32600),
        (b'{"id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": 1}}', -32602),
    ],
)
def test_what_is_no_message_is_refused(body, code):
    with posting() as post:
        answer = post.http.post("/mcp", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (400, code, None)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("resources/erase", None, -32601),
        ("server/discover", None, -32601),
        ("initialize", {"protocolVersion": 3}, -32602),
        ("tools/call", None, -32602),
        ("tools/call", {"name": "unknown"}, -32602),
        ("tools/call", {"name": "add", "arguments": [1]}, -32602),
    ],
)
def test_a_wrong_request_gets_an_error_of_the_protocol(method, params, code):
    with posting() as post:
        answer = post(method, params, id="a")
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (200, code, "a")


def test_an_unknown_version_is_refused():
    with posting() as post:
        answer = post("ping", headers={"MCP-Protocol-Version": "1999-01-01"})
        assert post("ping", headers={"MCP-Protocol-Version": "2025-06-18"}).json()["result"] == {}
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)
    assert answer.json()["error"]["data"]["requested"] == "1999-01-01"


# ----------------------------------------------------------------------------------------------- the newer generation


def test_a_modern_request_needs_no_handshake():
    with posting() as post:
        found = post(**modern("server/discover")).json()["result"]
        listed = post(**modern("tools/list")).json()["result"]
        called = post(**modern("tools/call", name="add", arguments={"a": 1})).json()["result"]
    assert found["supportedVersions"][0] == MODERN
    assert {each["resultType"] for each in (found, listed, called)} == {"complete"}
    assert (listed["ttlMs"], listed["cacheScope"]) == (60_000, "private")
    assert called["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "Servey"


def changed(request: dict[str, Any], **headers: str | None) -> dict[str, Any]:
    kept = {**request["headers"], **headers}
    return {**request, "headers": {name: value for name, value in kept.items() if value is not None}}


CALL = modern("tools/call", name="add", arguments={"a": 1})


@pytest.mark.parametrize(
    ("request_", "code", "status"),
    [
        (changed(CALL, **{"MCP-Protocol-Version": None}), -32020, 400),
        (changed(CALL, **{"MCP-Protocol-Version": "2025-11-25"}), -32020, 400),
        (changed(CALL, **{"Mcp-Method": None}), -32020, 400),
        (changed(CALL, **{"Mcp-Method": "tools/list"}), -32020, 400),
        (changed(CALL, **{"Mcp-Name": None}), -32020, 400),
        (changed(CALL, **{"Mcp-Name": "admin"}), -32020, 400),
        (changed(CALL, **{"Mcp-Name": "=?base64?!?="}), -32020, 400),
        ({**CALL, "params": {"name": "add"}}, -32602, 400),
        (
            {**CALL, "params": {"name": "add", "_meta": {**META, "io.modelcontextprotocol/clientCapabilities": 1}}},
            -32602,
            400,
        ),
        (modern("ping"), -32601, 404),
        (modern("initialize"), -32601, 404),
        (modern("tools/call", name="x"), -32602, 400),
    ],
)
def test_a_modern_request_that_disagrees_with_itself_is_refused(request_, code, status):
    with posting() as post:
        answer = post(**request_, id="mine")
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (status, code, "mine")


def test_white_space_around_a_header_is_no_part_of_it():
    with posting() as post:
        answer = post(**changed(CALL, **{"Mcp-Name": "  add\t", "Mcp-Method": " tools/call "}))
    assert answer.json()["result"]["structuredContent"] == {"result": 3}


def test_a_modern_version_that_is_unknown_names_those_that_are_known():
    version = {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    with posting() as post:
        request = changed(modern("tools/list"), **{"MCP-Protocol-Version": "2099-01-01"})
        answer = post(**{**request, "params": {"_meta": META | version}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)
    assert MODERN in answer.json()["error"]["data"]["supported"]


def test_a_header_that_is_not_ascii_is_encoded():
    @action(triggers=MCP_TOOL)
    async def hello() -> str:
        return "hi"

    app = create_app(actions=[hello], settings=Settings(env="dev"))
    with posting(app) as post:
        answer = post(**changed(modern("tools/call", name="hello"), **{"Mcp-Name": "=?base64?aGVsbG8=?="}))
    assert answer.json()["result"]["structuredContent"] == {"result": "hi"}


# ------------------------------------------------------------------------------------------------------ who may call


def test_a_foreign_origin_or_host_is_refused():
    with posting() as post:
        assert post("ping", headers={"Origin": "http://testserver"}).status_code == 200
        refused = post("ping", headers={"Origin": "https://evil.example"})
        assert (refused.status_code, "SERVEY_CORS_ALLOWED_ORIGINS" in refused.text) == (403, True)
        assert post("ping", headers={"Origin": "null"}).status_code == 403
        assert post("ping", headers={"Host": "evil.example"}).status_code == 403
        rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
        assert post("ping", headers=rebound).status_code == 403
    with posting(app_of(cors_allowed_origins=("https://good.example",))) as post:
        assert post("ping", headers={"Origin": "https://good.example"}).status_code == 200


SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"


def test_in_production_a_rebound_name_is_no_origin_of_the_servers_own():
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    with posting(app_of(env="prod", jwt_secret_key=SECRET)) as post:
        refused = post("ping", headers=rebound)
        assert (refused.status_code, "SERVEY_ALLOWED_HOSTS" in refused.text) == (403, True)
        assert post("ping", headers={"Host": "shop.example"}).status_code == 200, "an agent sends no Origin"
    with posting(app_of(env="prod", jwt_secret_key=SECRET, allowed_hosts=("shop.example",))) as post:
        assert post("ping", headers=rebound).status_code == 403
        assert post("ping", headers={"Host": "shop.example"}).status_code == 200
        own = {"Host": "shop.example", "Origin": "https://shop.example"}
        assert post("ping", headers=own).status_code == 200
    with posting(app_of(env="prod", jwt_secret_key=SECRET, cors_allowed_origins=("https://good.example",))) as post:
        assert post("ping", headers={"Host": "shop.example", "Origin": "https://good.example"}).status_code == 200


def test_a_form_of_another_site_is_no_message():
    with posting() as post:
        answer = post.http.post("/mcp", data={"jsonrpc": "2.0"})
    assert (answer.status_code, answer.json()["error"]["data"]) == (415, {"code": "unsupported_media_type"})


def test_a_large_request_is_refused():
    with posting() as post:
        answer = post("tools/call", {"name": "add", "arguments": {"a": "1" * 10_000_000}})
    assert (answer.status_code, answer.json()["error"]["data"]) == (413, {"code": "too_large"})


def test_an_action_can_read_the_body_of_its_request():
    async def sent(request: Request) -> Any:
        return await request.json()

    @action(triggers=MCP_TOOL, timeout=5)
    async def asked(request: Request, body: Annotated[Any, Depends(sent)]) -> list[Any]:
        assert not await request.is_disconnected()
        return [body["params"]["name"], (await request.json())["id"]]

    with posting(create_app(actions=[asked], settings=Settings(env="dev"))) as post:
        for given in ({"method": "tools/call", "params": {"name": "asked"}}, modern("tools/call", name="asked")):
            assert post(**given).json()["result"]["structuredContent"] == {"result": ["asked", 1]}


def test_an_action_cannot_change_the_headers_of_the_message():
    @action(triggers=MCP_TOOL)
    async def table(response: Response) -> str:
        for name, value in (("content-type", "text/csv"), ("content-length", "3"), ("x-from", "action")):
            response.headers[name] = value
        return "a,b"

    with posting(create_app(actions=[table], settings=Settings(env="dev"))) as post:
        answer = post("tools/call", {"name": "table"})
    assert answer.headers.get_list("content-type") == ["application/json"]
    assert answer.headers.get_list("content-length") == [str(len(answer.content))]
    assert answer.headers["x-from"] == "action"


def test_a_refused_caller_gets_401_or_403():
    app = app_of()
    with posting(app) as post:

        def call(token: str | None) -> httpx.Response:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return post("tools/call", {"name": "admin"}, headers=headers)

        for token in (None, "not.a.token"):
            refused = call(token)
            assert (refused.status_code, refused.json()["error"]["data"]) == (401, {"code": "unauthenticated"})
            assert refused.headers["www-authenticate"].startswith("Bearer")
        weak = call(token_for(app, Authorization("ada")))
        assert (weak.status_code, weak.json()["error"]["data"]) == (403, {"code": "forbidden"})
        good = call(token_for(app, Authorization("ada", frozenset({"admin"}))))
        assert good.json()["result"]["structuredContent"] == {"result": "in"}


def test_an_overloaded_process_refuses():
    app = app_of(max_in_flight=1)
    with posting(app) as post:
        app.runtime.in_flight.count += 1
        answer = post("ping")
        app.runtime.in_flight.count -= 1
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["data"] == {"code": "overloaded"}


# ------------------------------------------------------------------------------------------------------------ in a host


def known(key: str = Header("")) -> None:
    if key != "open":
        raise HTTPException(403, "no key")


async def sum_over(app: Any, path: str, **headers: str) -> Any:
    async with agent(app, path=path, **headers) as tools:
        return (await tools.call_tool("add", {"a": 1})).structured_content


def test_an_installed_app_has_its_hosts_guards_and_name():
    host = FastAPI(title="Host", dependencies=[Depends(known)])
    app_of(mcp_path="/agents").install(host, prefix="/ours")
    with posting(host, "/ours/agents") as post:
        assert post("ping").status_code == 403
        found = post("initialize", {"protocolVersion": "2025-11-25"}, headers={"key": "open"}).json()["result"]
        assert found["serverInfo"]["name"] == "Host"
        assert anyio.run(partial(sum_over, host, "/ours/agents", key="open")) == {"result": 3}


def test_a_mounted_app_serves_agents():
    app, host = app_of(), FastAPI()
    host.mount("/sub", app)

    async def main() -> Any:
        async with app.running():
            return await sum_over(host, "/sub/mcp")

    assert anyio.run(main) == {"result": 3}
