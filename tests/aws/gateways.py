"""The event of each gateway for a client's request, and the client's view of the response, after AWS's documentation.

Source: API Gateway developer guide, "Lambda proxy integrations" (formats 1.0 and 2.0); Lambda developer guide, "Function
URLs: request and response payloads"; Elastic Load Balancing, "Lambda functions as targets".
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

REQUEST_ID = "a-request-of-the-table"
_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "application/x-www-form-urlencoded")


@dataclass(frozen=True)
class Request:
    """A request on the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    kind: str = ""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def sent_headers(self) -> list[tuple[str, str]]:
        length = [("content-length", str(len(self.body)))] if self.body else []
        return [
            ("host", "example.org"),
            ("x-request-id", REQUEST_ID),
            ("x-forwarded-proto", "https"),
            *length,
            *self.headers,
        ]

    @property
    def id(self) -> str:
        return f"{self.kind}: {self.method} {self.target}"[:100]


@dataclass(frozen=True)
class Response:
    """A response as its client sees it. Repeated headers are joined to one list, except cookies."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


def response_of(status: int, pairs: list[tuple[str, str]], body: bytes) -> Response:
    """Remove the headers that a server adds."""
    headers: dict[str, str] = {}
    cookies = []
    for name, value in pairs:
        name = name.lower()
        if name == "set-cookie":
            cookies.append(value)
        elif name not in ("date", "server", "transfer-encoding", "connection"):
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    return Response(status, body, headers, tuple(cookies))


def _multi(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _content(request: Request) -> dict[str, Any]:
    if not request.body:
        return {"body": None, "isBase64Encoded": False}
    kind = next((value for name, value in request.headers if name.lower() == "content-type"), "")
    if kind.startswith(_TEXT):
        try:
            return {"body": request.body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}


def rest_api(request: Request) -> dict[str, Any]:
    """API Gateway REST API, payload 1.0, on a domain of its own."""
    query = parse_qsl(request.query, keep_blank_values=True)
    return {
        "resource": "/{proxy+}",
        "path": request.path,
        "httpMethod": request.method,
        "headers": dict(request.sent_headers),
        "multiValueHeaders": _multi(request.sent_headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _multi(query) or None,
        "pathParameters": {"proxy": request.path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/{proxy+}",
            "httpMethod": request.method,
            "path": request.path,
            "protocol": "HTTP/1.1",
            "stage": "dev",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "127.0.0.1", "userAgent": "tests"},
        },
        **_content(request),
    }


def _format_2(request: Request, path: str, domain: str) -> dict[str, Any]:
    cookies = [value for name, value in request.sent_headers if name.lower() == "cookie"]
    headers: dict[str, str] = {}
    for name, value in request.sent_headers:
        if name.lower() != "cookie":
            headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    query: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    made = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": headers,
        "queryStringParameters": query,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": domain,
            "http": {"method": request.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
        },
        **_content(request),
    }
    if cookies:
        made["cookies"] = [part.strip() for value in cookies for part in value.split(";")]
    if made["body"] is None:
        del made["body"]
    return made


def http_api(request: Request) -> dict[str, Any]:
    """API Gateway HTTP API, payload 2.0: it decodes the path."""
    return _format_2(request, unquote(request.path), "id.execute-api.eu-central-1.amazonaws.com")


def function_url(request: Request) -> dict[str, Any]:
    """A Lambda Function URL: payload 2.0 with the raw path."""
    return _format_2(request, request.path, "id.lambda-url.eu-central-1.on.aws")


def load_balancer(request: Request) -> dict[str, Any]:
    """An Application Load Balancer with multi-value headers: it decodes no query."""
    pairs = [part.partition("=")[::2] for part in request.query.split("&") if part]
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/a/b"}},
        "httpMethod": request.method,
        "path": request.path,
        "multiValueQueryStringParameters": _multi([(name, value) for name, value in pairs]),
        "multiValueHeaders": _multi([(name.lower(), value) for name, value in request.sent_headers]),
        **_content(request),
        "body": _content(request)["body"] or "",
    }


def answer_of(event_answer: dict[str, Any]) -> Response:
    """Return the client's view of a handler's response."""
    body = event_answer.get("body") or ""
    content = base64.b64decode(body) if event_answer.get("isBase64Encoded") else body.encode()
    pairs = list((event_answer.get("headers") or {}).items())
    pairs += [(n, value) for n, values in (event_answer.get("multiValueHeaders") or {}).items() for value in values]
    pairs += [("set-cookie", cookie) for cookie in event_answer.get("cookies") or ()]
    return response_of(event_answer["statusCode"], pairs, content)


GATEWAYS: dict[str, Callable[[Request], dict[str, Any]]] = {
    "REST API": rest_api,
    "HTTP API": http_api,
    "Function URL": function_url,
    "load balancer": load_balancer,
}
