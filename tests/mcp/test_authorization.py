"""How a refused client learns where to obtain a token, and which: RFC 9728, RFC 6750, scopes, audiences."""

import re
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from mcp.client.auth.utils import extract_resource_metadata_from_www_auth, extract_scope_from_www_auth
from mcp.shared.auth import ProtectedResourceMetadata

from servey import (
    MCP_TOOL,
    WEB_GET,
    Authorization,
    Forbidden,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
    websocket_event_channel,
)
from servey.testing import client, token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
ISSUER = "https://login.example"
RESOURCE = "https://tools.example/mcp"


@action(triggers=MCP_TOOL)
async def public() -> str:
    return "in"


@action(triggers=MCP_TOOL, access_control=ScopeAccessControl("read") & ScopeAccessControl("write"))
async def guarded(refuse: bool = False) -> str:
    if refuse:
        raise Forbidden("Not on Sundays")
    return "in"


def app_of(*actions: Any, channels: Any = (), **settings: Any) -> Any:
    given = {"env": "dev", "jwt_secret_key": SECRET, "jwt_issuer": ISSUER, "jwt_audience": RESOURCE} | settings
    offered = actions or [public, guarded]
    return create_app(actions=offered, channels=channels, settings=Settings(**given), title="Tools")


def ask(http: Any, method: str, token: str | None = None, path: str = "/mcp", **params: Any) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return http.post(path, json=body, headers=headers)


def test_a_challenge_leads_to_the_metadata():
    with client(app_of()) as http:
        refused = ask(http, "tools/call", name="guarded")
        where = re.search(r'resource_metadata="([^"]+)"', refused.headers["www-authenticate"])[1]
        metadata = http.get(where)
    assert refused.status_code == 401
    assert where == "http://testserver/.well-known/oauth-protected-resource/mcp"
    assert 'scope="read write"' in refused.headers["www-authenticate"]
    assert "error=" not in refused.headers["www-authenticate"]
    assert metadata.json() == {
        "resource": RESOURCE,
        "resource_name": "Tools",
        "authorization_servers": [ISSUER],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
    }
    ProtectedResourceMetadata.model_validate(metadata.json())


def test_the_official_client_reads_the_challenge():
    with client(app_of()) as http:
        refused = ask(http, "tools/call", name="guarded")
    response = httpx2.Response(401, headers=dict(refused.headers))
    assert extract_resource_metadata_from_www_auth(response).endswith("/oauth-protected-resource/mcp")
    assert extract_scope_from_www_auth(response) == "read write"


def test_a_bad_token_is_named_as_one():
    with client(app_of()) as http:
        for method, params in (("tools/call", {"name": "guarded"}), ("tools/list", {})):
            refused = ask(http, method, "not.a.token", **params)
            assert refused.status_code == 401
            assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert ask(http, "tools/call", "not.a.token", name="public").status_code == 200


def test_a_token_without_the_scopes_is_told_which():
    app = app_of()
    with client(app) as http:
        refused = ask(http, "tools/call", token_for(app, Authorization("ada", frozenset({"read"}))), name="guarded")
        full = token_for(app, Authorization("ada", frozenset({"read", "write"})))
        own = ask(http, "tools/call", full, name="guarded", arguments={"refuse": True})
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"].startswith('Bearer error="insufficient_scope", scope="read write"')
    assert own.json()["result"]["content"][0]["text"] == "Not on Sundays (forbidden)"


def test_a_caller_with_the_scopes_is_not_sent_for_another_token():
    def is_own(caller: Authorization | None, params: Any) -> bool:
        return bool(params["id"] == 1)

    @action(triggers=MCP_TOOL, access_control=ScopeAccessControl(("read", "write")) & is_own)
    async def see(id: int) -> str:
        return "in"

    app = app_of(see)
    with client(app) as http:
        reader, other = (token_for(app, Authorization("ada", frozenset({scope}))) for scope in ("read", "x"))
        own, foreign, refused = (
            ask(http, "tools/call", token, name="see", arguments={"id": id})
            for token, id in ((reader, 1), (reader, 2), (other, 1))
        )
    assert own.json()["result"]["content"][0]["text"] == "in"
    assert foreign.json()["result"]["content"][0]["text"] == "Forbidden (forbidden)"
    assert (refused.status_code, "insufficient_scope" in refused.headers["www-authenticate"]) == (403, True)


def test_a_token_for_another_resource_is_refused():
    app, other = app_of(), app_of(jwt_audience="https://other.example/mcp")
    scopes = frozenset({"read", "write"})
    with client(app) as http:
        assert (
            ask(http, "tools/call", token_for(other, Authorization("ada", scopes)), name="guarded").status_code == 401
        )
        assert ask(http, "tools/call", token_for(app, Authorization("ada", scopes)), name="guarded").status_code == 200


def test_a_client_that_may_call_nothing_has_to_log_in_first():
    app = app_of(guarded)
    with client(app) as http:
        for method, params in (("initialize", {"protocolVersion": "2025-11-25"}), ("tools/list", {})):
            assert ask(http, method, **params).status_code == 401
        token = token_for(app, Authorization("ada"))
        assert ask(http, "tools/list", token).json()["result"]["tools"] == []
    with client(app_of(guarded, mcp_lists="all")) as http:
        assert len(ask(http, "tools/list").json()["result"]["tools"]) == 1


def test_without_an_issuer_there_is_no_metadata():
    with client(app_of(jwt_issuer=None, jwt_audience=None)) as http:
        refused = ask(http, "tools/call", name="guarded")
        assert refused.headers["www-authenticate"] == 'Bearer scope="read write"'
        assert http.get("/.well-known/oauth-protected-resource/mcp").status_code == 404


@pytest.mark.parametrize("host", ['x"y', "a b", ""])
def test_a_host_that_is_none_is_not_quoted(host):
    with client(app_of(env="prod")) as http:
        refused = http.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "guarded"}},
            headers={"Host": host},
        )
    assert 'resource_metadata="http://localhost/.well-known/' in refused.headers["www-authenticate"]


def test_in_a_host_and_mounted_the_metadata_is_where_the_challenge_says():
    host = FastAPI()
    app_of().install(host, prefix="/ours")
    with client(host) as http:
        refused = ask(http, "tools/call", path="/ours/mcp", name="guarded")
        where = extract_resource_metadata_from_www_auth(httpx2.Response(401, headers=dict(refused.headers)))
        assert where == "http://testserver/.well-known/oauth-protected-resource/ours/mcp"
        assert http.get(where).json()["resource"] == RESOURCE
    around, app = FastAPI(), app_of(jwt_audience=None)
    around.mount("/sub", app)
    around.mount("/of/{tenant}", app)

    async def main() -> None:
        transport = httpx2.ASGITransport(around)
        async with app.running(), httpx2.AsyncClient(transport=transport, base_url="http://testserver") as http:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "guarded"}}
            where = extract_resource_metadata_from_www_auth(await http.post("/sub/mcp", json=body))
            assert (await http.get(where)).json()["resource"] == "http://testserver/sub/mcp"
            refused = await http.post('/of/a"b%0d%0a\u20ac/mcp', json=body)
            where = extract_resource_metadata_from_www_auth(refused)
            assert where.startswith("http://testserver/of/a%22b%0D%0A%E2%82%AC/.well-known/")

    anyio.run(main)


def fails_for_the_anonymous(caller: Any) -> bool:
    return caller.subject_id == "ada"


def raises_forbidden(caller: Any) -> bool:
    raise Forbidden("Not on Sundays")


@pytest.mark.parametrize("rule", [fails_for_the_anonymous, raises_forbidden])
def test_an_access_rule_that_raises_hides_its_own_tool_only(rule):
    @action(triggers=MCP_TOOL, access_control=rule)
    async def fragile() -> None: ...

    @action(triggers=MCP_TOOL)
    async def public() -> None: ...

    news = websocket_event_channel("news", str, history=1, mcp=True, access_control=rule)
    with client(app_of(fragile, public, channels=[news])) as http:
        listed = ask(http, "tools/list").json()["result"]["tools"]
        assert [tool["name"] for tool in listed] == ["public"]
        assert ask(http, "resources/list").json()["result"]["resources"] == []
    with client(app_of(fragile)) as http:
        assert ask(http, "initialize", protocolVersion="2025-11-25").status_code == 401


def test_a_rest_client_is_challenged_as_before():
    @action(triggers=[WEB_GET, MCP_TOOL], access_control=ScopeAccessControl("read"))
    async def both() -> None: ...

    with client(app_of(both)) as http:
        assert http.get("/actions/both").headers["www-authenticate"] == "Bearer"
