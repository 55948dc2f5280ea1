"""HEAD is answered by the compiled form of the GET route: the headers of the generic form, and no body."""

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from servey import WEB_GET, SecureHashCacheControl, Settings, TtlCacheControl, WebTrigger, action, create_app
from servey.core.errors import NotFound
from servey.testing import set_clock


@action(triggers=WEB_GET)
async def plain(name: str = "World") -> str:
    return name


@action(triggers=WEB_GET)
async def missing() -> str:
    raise NotFound("missing")


@action(triggers=WEB_GET)
async def whole() -> Response:
    return PlainTextResponse("whole", headers={"X-Own": "1"})


@action(triggers=WEB_GET, cache_control=SecureHashCacheControl())
async def hashed() -> str:
    return "hashed"


@action(triggers=WEB_GET, cache_control=TtlCacheControl(3600, private=False))
async def kept() -> str:
    return "kept"


@action(triggers=WebTrigger("HEAD", "/actions/alone"))
async def alone() -> str:
    return "alone"


ACTIONS = [plain, missing, whole, hashed, kept, alone]


async def sent(app: Any, path: str, query: bytes, *headers: tuple[bytes, bytes]) -> tuple[Any, ...]:
    """The status, the headers and the body of the answer to a HEAD request, as the app sends them."""
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": "HEAD",
        "scheme": "http",
        "server": ("test", 80),
        "path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(b"x-request-id", b"mine"), *headers],
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in messages[1:])
    return messages[0]["status"], sorted(messages[0]["headers"]), body


@pytest.mark.parametrize("asked", [(), ((b"accept-encoding", b"gzip"),), ((b"if-none-match", b"*"),)], ids=str)
@pytest.mark.parametrize("query", [b"", b"name=" + b"a" * 5000], ids=["small", "large"])
@pytest.mark.parametrize("path", [f"/actions/{each.servey_action.name}" for each in ACTIONS])
def test_it_has_the_headers_of_the_generic_form(path, query, asked):
    app = create_app(actions=ACTIONS, settings=Settings(env="dev"))

    async def run() -> list[Any]:
        async with app.router.lifespan_context(app):
            await sent(app, path, query)
            # From now on a cached result is found, and then sent from the bytes that were kept.
            compiled = [await sent(app, path, query, *asked) for _ in range(2)]
            return [*compiled, await sent(app, path, query, *asked, (b"prefer", b"handling=lenient"))]

    with set_clock(app):
        *compiled, generic = asyncio.run(run())
    assert compiled == [generic] * 2
    assert generic[2] == b""
