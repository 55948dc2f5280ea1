"""A client of each gateway receives the same status, headers and body as a client of the server."""

import http.client
import json

import pytest

from servey import Authorization
from servey.aws import build_handler
from servey.testing import token_for
from tests.aws.gateways import GATEWAYS, Request, Response, answer_of, response_of
from tests.aws.parity_app import create_app
from tests.serving import serve

JSON = (("content-type", "application/json"),)
FORM = (("content-type", "application/x-www-form-urlencoded"),)
ORIGIN = ("origin", "https://a.example")
BYTES = bytes(range(256))
MULTIPART = (("content-type", "multipart/form-data; boundary=x"),)


def multipart(content: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n"


def get(kind: str, target: str, *headers: tuple[str, str]) -> Request:
    return Request("GET", target, headers, kind=kind)


def send(
    kind: str, method: str, target: str, body: bytes = b"", headers: tuple[tuple[str, str], ...] = JSON
) -> Request:
    return Request(method, target, headers, body, kind)


def preflight(origin: str, method: str = "POST", target: str = "/echo", more: str = "content-type") -> Request:
    asked = (
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", more),
    )
    return Request("OPTIONS", target, asked, kind="CORS")


def tool_call(name: str, accept: str = "application/json", **arguments: str) -> Request:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": 1}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    return send("MCP", "POST", "/mcp", body, (*JSON, ("accept", accept)))


TABLE = [
    # Encoded paths.
    get("path", "/things/a%20b/parts/1"),
    get("path", "/things/%C3%A4%E2%98%83/parts/2"),
    get("path", "/things/100%25/parts/3"),
    get("path", "/things/a%2Bb+c/parts/4"),
    get("path", "/things/a%2525/parts/5"),
    get("path", "/files/a/b%20c/d.txt"),
    get("path", "/files/a%2Fb"),
    get("path", "/files/x;y=1,2"),
    get("path", "/files/semi%3Bcolon%3Dequal"),
    # Repeated, unicode and odd queries.
    get("query", "/actions/words?words=a&words=b"),
    get("query", "/actions/words?words=%C3%A4&words=%E2%98%83&by=%2C%20"),
    get("query", "/actions/words?words=one"),
    get("query", "/actions/words?words=a+b&words=a%2Bb&words=a%26b%3Dc"),
    get("query", "/actions/words?words=&words="),
    get("query", "/actions/echo?text=%F0%9F%98%80"),
    get("query", "/actions/echo?text=100%25"),
    get("query", "/actions/echo?text=true&unknown=1"),
    get("query", "/actions/echo"),
    get("query", "/actions/nested?p.x=1&p.label=hey&color=b"),
    get("query", "/actions/address?b=2&c=%C3%A4"),
    # Cookies, in and out.
    get("cookies", "/actions/cookies", ("cookie", "a=1; b=two")),
    get("cookies", "/actions/cookies", ("cookie", 'quoted="x y"; empty=')),
    get("cookies", "/actions/one-cookie", ("cookie", "session=abc; other=1")),
    get("cookies", "/actions/one-cookie"),
    get("cookies", "/actions/set-cookies"),
    get("cookies", "/actions/set-cookies?number=1"),
    # Bytes, down and up.
    get("binary down", "/actions/picture"),
    get("binary down", "/actions/picture?size=0"),
    get("binary down", "/actions/picture?size=100000"),
    get("binary down", "/actions/latin"),
    send("binary up", "POST", "/actions/upload", multipart(BYTES), MULTIPART),
    send("binary up", "POST", "/actions/upload", multipart(b""), MULTIPART),
    send("binary up", "POST", "/actions/raw", BYTES, (("content-type", "application/octet-stream"),)),
    send("binary up", "POST", "/actions/raw", "ä".encode(), (("content-type", "text/plain"),)),
    # Text of types that are not called text.
    get("text", "/actions/problem"),
    get("text", "/actions/svg"),
    get("text", "/actions/twice"),
    # HEAD.
    Request("HEAD", "/actions/echo?text=abc", kind="HEAD"),
    Request("HEAD", "/actions/picture", kind="HEAD"),
    Request("HEAD", "/nothing", kind="HEAD"),
    Request("HEAD", "/actions/post-point", kind="HEAD"),
    # Bodies.
    send("body", "POST", "/echo", b'{"text": "\xc3\xa4"}'),
    send("body", "POST", "/echo", b'{"text": "x"}', (("content-type", "application/vnd.api+json"),)),
    send("body", "POST", "/echo"),
    send("body", "POST", "/actions/post-point", b'{"p": {"x": 1}, "due": "2026-01-02"}'),
    send("body", "PUT", "/points/7", b'{"label": "seven"}'),
    send("body", "PATCH", "/points/7", b"{}"),
    send("body", "DELETE", "/points/7", headers=()),
    # Agents.
    tool_call("echo", text="ä"),
    tool_call("count"),
    tool_call("nothing"),
    Request("GET", "/mcp", kind="MCP"),
    # 404.
    get("404", "/nothing"),
    get("404", "/actions/nothing%20here?x=1"),
    get("404", "/"),
    get("404", "/actions/fail?how=missing"),
    # 405.
    send("405", "POST", "/actions/words", b"{}"),
    get("405", "/actions/post-point"),
    send("405", "DELETE", "/echo", headers=()),
    # 422.
    get("422", "/actions/nested?p.x=one"),
    get("422", "/actions/words"),
    send("422", "POST", "/actions/post-point", b'{"p": {"x": "\xe2\x98\x83"}}'),
    send("422", "POST", "/actions/post-point", b'{"p": '),
    get("422", "/things/a/parts/b"),
    # Other errors.
    send("error", "POST", "/echo", b"text=1", FORM),
    get("error", "/actions/fail?how=conflict"),
    get("error", "/actions/fail?how=odd"),
    get("error", "/actions/only-root"),
    get("error", "/actions/who", ("authorization", "Bearer not.a.token")),
    # CORS.
    preflight("https://a.example"),
    preflight("https://evil.example"),
    preflight("https://a.example", "PUT", "/points/1", "x-own"),
    get("CORS", "/actions/echo?text=x", ORIGIN),
    get("CORS", "/actions/fail?how=odd", ORIGIN),
    get("CORS", "/actions/echo", ("origin", "https://evil.example")),
    # Empty answers, redirects, headers.
    get("empty", "/actions/empty"),
    get("empty", "/actions/empty?status=304"),
    get("empty", "/actions/empty?status=200"),
    get("redirect", "/actions/redirect?to=/somewhere%3Fa=1"),
    get("redirect", "/actions/echo/"),
    get("headers", "/actions/headers-seen", ("X-One", "1"), ("Accept-Language", "de, en;q=0.5")),
    get("headers", "/actions/headers-seen"),
    get("token", "/actions/who", ("authorization", "{token}")),
    get("token", "/actions/only-root", ("Authorization", "{token}")),
    get("documents", "/health/live"),
    get("documents", "/openapi.json"),
]  # fmt: skip

KINDS = ("path", "query", "cookies", "binary down", "binary up", "HEAD", "404", "405", "422", "CORS")


@pytest.fixture(scope="module")
def app():
    return create_app()


@pytest.fixture(scope="module")
def handler(app):
    handler = build_handler(app)
    yield handler
    handler.close()


@pytest.fixture(scope="module")
def server():
    with serve("tests.aws.parity_app:create_app", factory=True) as server:
        yield server


@pytest.fixture(scope="module")
def token(app) -> str:
    return f"Bearer {token_for(app, Authorization('boss', frozenset({'root'})))}"


def with_token(request: Request, token: str) -> Request:
    headers = tuple((name, value.replace("{token}", token)) for name, value in request.headers)
    return Request(request.method, request.target, headers, request.body, request.kind)


def over_http(port: int, request: Request) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.sent_headers:
            connection.putheader(name, value)
        connection.endheaders(request.body or None)
        answer = connection.getresponse()
        return response_of(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("request_", TABLE, ids=lambda request: request.id)
def test_every_gateway_answers_as_the_server_does(request_, server, handler, token):
    request_ = with_token(request_, token)
    expected = over_http(server.port, request_)
    for name, event_of in GATEWAYS.items():
        assert answer_of(handler(event_of(request_), None)) == expected, name


def test_a_tool_that_reports_progress_has_one_answer(handler):
    """Lambda cannot stream, so there an agent that would read progress gets the result only."""
    request = tool_call("count", "application/json, text/event-stream")
    for name, event_of in GATEWAYS.items():
        answer = answer_of(handler(event_of(request), None))
        assert answer.status == 200, name
        assert json.loads(answer.body)["result"]["structuredContent"] == {"result": 2}


def test_the_table_is_large_enough():
    assert len(TABLE) >= 60
    assert len(set(TABLE)) == len(TABLE)
    for kind in KINDS:
        assert sum(request.kind == kind for request in TABLE) >= 3, kind
