"""Converts the outcome of a call to the content of a tool's result."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
from pydantic_core import from_json, to_json
from starlette.responses import Response, StreamingResponse

from servey.calls.outcomes import ResultError, Stream
from servey.core.actions import Action
from servey.core.errors import ActionError, InvalidParams, body_of
from servey.mcp.kinds.prompts import Prompt, messages_of
from servey.mcp.kinds.resources import Resource
from servey.mcp.kinds.tools import RESULT, Tool
from servey.mcp.messages import members_of
from servey.mcp.progress import Progress

MAX_STREAM_BYTES = 4 << 20
"""How much a streaming action may yield in one call."""


async def members_of_result(tool: Tool, progress: Progress | None, result: Any) -> bytes:
    """Return the JSON members of a successful result: content, and structured content if the tool declares it.

    The items of a stream are progress too.

    Errors: ResultError for a result that does not fit the tool's output schema; ActionError for a long stream.
    """
    if isinstance(result, Response):
        return _of_response(tool, result)
    raw = None if tool.encode is None or isinstance(result, Stream) else tool.encode(result)
    if raw is None:
        raw = await _serialized(tool.action, result, progress)
    return members_of_json(tool, raw)


def members_of_json(tool: Tool, raw: bytes) -> bytes:
    """Return the JSON members of a successful result that is JSON. Errors: ResultError if it does not fit the schema."""
    if tool.has_numbers and b"null" in raw:  # JSON has no NaN
        _check_fit(tool, from_json(raw), "a result that does not fit its output schema")
    # The text of a str is the str itself; of any other result it is its JSON.
    text = raw if raw.startswith(b'"') else orjson.dumps(raw.decode())
    structured = b'{"' + RESULT.encode() + b'":' + raw + b"}" if tool.wraps else raw
    return b'"content":[{"type":"text","text":' + text + b'}],"structuredContent":' + structured


async def _serialized(action: Action, result: Any, progress: Progress | None = None) -> bytes:
    assert action.result is not None
    dump = action.result.serializer.to_json
    if not isinstance(result, Stream):
        return dump(result, by_alias=True, warnings=False)
    items: list[bytes] = []
    size = 0
    async for item in result:
        items.append(dump(item, by_alias=True, warnings=False))
        size += len(items[-1])
        if progress is not None:
            progress.report_item(len(items), items[-1])
        if size > MAX_STREAM_BYTES:
            raise ActionError(
                413, "too_large", f"The items are over the limit of {MAX_STREAM_BYTES} bytes; ask for fewer"
            )
    return b"[" + b",".join(items) + b"]"


async def members_of_contents(resource: Resource, uri: str, result: Any) -> bytes:
    """Return the JSON members of what is read: one text, or one file. Errors: those of `members_of_result`."""
    if isinstance(result, Response):
        media_type, body = _body_of(resource.action, result)
        about = {"uri": uri, "mimeType": media_type or "application/octet-stream"}
        part = {"text": body.decode(errors="replace")} if _is_text(media_type) else {"blob": b64encode(body).decode()}
        return members_of({"contents": [about | part]})
    raw = await _serialized(resource.action, result)
    text = from_json(raw) if raw.startswith(b'"') else raw.decode()
    return members_of({"contents": [{"uri": uri, "mimeType": resource.media_type, "text": text}]})


async def members_of_messages(prompt: Prompt, result: Any) -> bytes:
    """Return the JSON members of a prompt. Errors: those of `members_of_result`."""
    if isinstance(result, Response):
        media_type, body = _body_of(prompt.action, result)
        messages = [{"role": "user", "content": _content(media_type, body, prompt.name)}]
    else:
        messages = messages_of(from_json(await _serialized(prompt.action, result)))
    return members_of({"description": prompt.described["description"], "messages": messages})


def _body_of(action: Action, response: Response) -> tuple[str, bytes]:
    """Return the media type and the body of a response. Errors: ResultError if it streams; ActionError if it is an error."""
    if isinstance(response, StreamingResponse) or not hasattr(response, "body"):
        raise ResultError(f"action '{action.name}' ({action.place}) returned a streaming Response over MCP")
    body = bytes(response.body)
    if response.status_code >= 300:
        text = body.decode(errors="replace") or f"The response has the status {response.status_code}"
        where = response.headers.get("location")
        raise ActionError(
            response.status_code, f"http_{response.status_code}", f"{text}; see {where}" if where else text
        )
    return (response.headers.get("content-type") or "").partition(";")[0].strip().lower(), body


def _of_response(tool: Tool, response: Response) -> bytes:
    media_type, body = _body_of(tool.action, response)
    result: dict[str, Any] = {"content": [_content(media_type, body, tool.name)]}
    if tool.output_schema is not None:
        try:
            value = from_json(body, allow_inf_nan=False)
        except ValueError:
            raise _misfit(tool, "a Response that is not JSON; annotate it as Response") from None
        _check_fit(tool, value, "a Response that is not of the annotated type; annotate it as Response")
        result["structuredContent"] = {RESULT: value} if tool.wraps else value
    return members_of(result)


def _check_fit(tool: Tool, value: Any, what: str) -> None:
    """Errors: ResultError if a value does not fit the schema of a tool's result."""
    problem = tool.misfit(value)
    if problem is not None:
        raise _misfit(tool, f"{what}: {problem}")


def _misfit(tool: Tool, what: str) -> ResultError:
    return ResultError(f"action '{tool.action.name}' ({tool.action.place}) returned {what}")


def _content(media_type: str, body: bytes, name: str) -> dict[str, Any]:
    """Return a body as text, image, audio, or as an embedded file. Source: MCP 2025-11-25, "Tool Result"."""
    kind = media_type.partition("/")[0]
    if kind in ("image", "audio"):
        return {"type": kind, "data": b64encode(body).decode(), "mimeType": media_type}
    if _is_text(media_type) or not body:
        return {"type": "text", "text": body.decode(errors="replace")}
    file = {"uri": f"result:///{name}", "mimeType": media_type or "application/octet-stream"}
    return {"type": "resource", "resource": file | {"blob": b64encode(body).decode()}}


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type.endswith(("json", "xml"))


def members_of_failure(error: ActionError, request_id: str) -> bytes:
    """Return the JSON members of a failed call: a text that says what an agent can do, and the error's code."""
    return members_of({"content": [{"type": "text", "text": failure_text(error, request_id)}], "isError": True})


def failure_text(error: ActionError, request_id: str) -> str:
    """Return an error as a text that ends with its code in parentheses."""
    if error.own_body is not None:
        text = to_json(body_of(error), fallback=str, inf_nan_mode="null").decode()
    elif isinstance(error, InvalidParams):
        text = f"Invalid arguments: {error}. Correct them and call again"
    elif error.code == "internal":
        text = f"{error.detail}; the log has it under request id {request_id}"
    else:
        text = error.detail if isinstance(error.detail, str) else to_json(error.detail, fallback=str).decode()
    wait = error.headers.get("Retry-After")
    return f"{text}; call again in {wait} s ({error.code})" if wait else f"{text} ({error.code})"
