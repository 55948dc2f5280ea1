"""JSON-RPC messages of the Model Context Protocol (MCP): parsing requests, encoding responses.

Source: JSON-RPC 2.0; MCP 2025-11-25 and 2026-07-28, "Base Protocol".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from servey.core.errors import ActionError, body_of

HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The versions whose clients begin with ``initialize``, oldest first."""

MODERN_VERSIONS = ("2026-07-28",)
"""The versions whose requests carry version, client and capabilities themselves."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002
"""Retired in 2026-07-28."""

HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META_SERVER = "io.modelcontextprotocol/serverInfo"

LISTEN = "subscriptions/listen"
"""The method whose response lasts as long as its client listens."""


class ProtocolError(ActionError):
    """A message that the protocol does not allow, or a method that does not exist."""

    def __init__(self, rpc_code: int, detail: str, *, data: Any = None, status: int = 400) -> None:
        super().__init__(status, "invalid_params" if rpc_code == INVALID_PARAMS else "invalid_message", detail)
        self.rpc_code = rpc_code
        self.data = data


@dataclass(frozen=True)
class Request:
    """One message of a client.

    Shape: ``id`` is None for a notification, which gets no response; ``meta`` is ``params._meta``.
    """

    id: str | int | None
    method: str
    params: Mapping[str, Any]
    meta: Mapping[str, Any]

    @property
    def is_modern(self) -> bool:
        """Whether the message names its protocol version itself."""
        return META_VERSION in self.meta

    def text(self, name: str) -> str:
        """Return a parameter that must be a string. Errors: ProtocolError."""
        value = self.params.get(name)
        if not isinstance(value, str):
            raise ProtocolError(INVALID_PARAMS, f"'{name}' must be a string")
        return value


@dataclass(frozen=True)
class Response:
    """The answer of a client to a request of the server; ``result`` is None for an error."""

    id: Any
    result: Any


def parse_message(given: Any) -> Request | Response:
    """Parse decoded JSON. Errors: ProtocolError."""
    if isinstance(given, list):
        raise ProtocolError(INVALID_REQUEST, "Batches are not supported; send one message per request")
    if not isinstance(given, dict) or given.get("jsonrpc") != "2.0":
        raise ProtocolError(INVALID_REQUEST, 'Send one JSON-RPC 2.0 message: an object with "jsonrpc": "2.0"')
    if "method" not in given and ("result" in given or "error" in given):
        return Response(given.get("id"), given.get("result"))
    id_, method, params = given.get("id"), given.get("method"), given.get("params")
    if "id" in given and (isinstance(id_, bool) or not isinstance(id_, str | int)):
        raise ProtocolError(INVALID_REQUEST, "'id' must be a string or an integer")
    if not isinstance(method, str):
        raise ProtocolError(INVALID_REQUEST, "'method' must be a string")
    if params is None:
        params = {}
    meta = params.get("_meta") if isinstance(params, dict) else None
    if not isinstance(params, dict) or not isinstance(meta, dict | None):
        raise ProtocolError(INVALID_PARAMS, "'params' and 'params._meta' must be objects")
    return Request(id_, method, params, meta or {})


def check_envelope(request: Request) -> None:
    """Check what each request of a modern version must carry. Errors: ProtocolError."""
    version = request.meta.get(META_VERSION)
    if not isinstance(version, str) or not isinstance(request.meta.get(META_CLIENT_CAPABILITIES), dict):
        raise ProtocolError(
            INVALID_PARAMS, f"params._meta must have '{META_VERSION}' and the object '{META_CLIENT_CAPABILITIES}'"
        )
    if version not in MODERN_VERSIONS:
        raise unsupported_version(version)


def unsupported_version(version: str) -> ProtocolError:
    """Return the error for a protocol version that is not supported."""
    supported = [*MODERN_VERSIONS, *reversed(HANDSHAKE_VERSIONS)]
    return ProtocolError(
        UNSUPPORTED_VERSION,
        f"Unsupported protocol version; use one of {', '.join(supported)}",
        data={"supported": supported, "requested": version[:100]},
    )


def missing_capability(required: Mapping[str, Any]) -> ProtocolError:
    """Return the error for a request that needs a capability which its client has not declared."""
    text = f"The client has not declared a capability that this request needs: {', '.join(required)}"
    return ProtocolError(MISSING_CAPABILITY, text, data={"requiredCapabilities": required})


def encode_result(id_: str | int | None, members: bytes, more: bytes = b"") -> bytes:
    """Encode a response from the JSON members of its result, without their braces."""
    joined = members + b"," + more if members and more else members or more
    return b'{"jsonrpc":"2.0","id":' + to_json(id_) + b',"result":{' + joined + b"}}"


def members_of(result: Mapping[str, Any]) -> bytes:
    """Encode an object without its braces."""
    return to_json(result, fallback=str, inf_nan_mode="null")[1:-1]


def encode_error(id_: str | int | None, error: ActionError) -> bytes:
    """Encode an error response. Its ``data`` has the code of every transport."""
    if isinstance(error, ProtocolError):
        shown: dict[str, Any] = {"code": error.rpc_code, "message": error.detail}
        if error.data is not None:
            shown["data"] = error.data
    else:
        code = INTERNAL_ERROR if error.status == 500 else error.status
        detail = error.detail if isinstance(error.detail, str) else str(error)
        data = {"code": error.code} | (dict(body_of(error)) if error.own_body is not None else {})
        shown = {"code": code, "message": detail, "data": data}
    return to_json({"jsonrpc": "2.0", "id": id_, "error": shown}, fallback=str, inf_nan_mode="null")
