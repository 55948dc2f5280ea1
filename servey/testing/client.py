"""A client for the app under test, and subscribers of its event channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
from starlette.testclient import TestClient, WebSocketTestSession

from servey.app import Servey
from servey.auth.tokens import JwtAuthorizer
from servey.core.access import Authorization
from servey.core.errors import ConfigError

TOKEN_SECONDS = 3600


@contextmanager
def client(app: Any, *, authorization: Authorization | None = None) -> Iterator[TestClient]:
    """Open an HTTP client for an app and run the app's lifespan. With ``authorization``, it sends a token for it.

    An exception in an action becomes an error response, as for a real client.
    """
    headers = {} if authorization is None else {"Authorization": f"Bearer {token_for(app, authorization)}"}
    with TestClient(app, raise_server_exceptions=False, headers=headers) as http:
        yield http


@asynccontextmanager
async def async_client(app: Servey, *, authorization: Authorization | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """Open an HTTP client for async tests and run the app's lifespan on the test's event loop; otherwise as `client`.

    The test can await what belongs to that loop, such as a database session that it shares with the app.
    """
    headers = {} if authorization is None else {"Authorization": f"Bearer {token_for(app, authorization)}"}
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.running(),
        httpx2.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as http,
    ):
        yield http


async def every_item(http: httpx2.AsyncClient, path: str, **params: Any) -> AsyncIterator[Any]:
    """Yield the items of all pages of an action that returns a `servey.Page`, as JSON, following the links to the next.

    Errors: httpx2.HTTPStatusError if a page cannot be read.
    """
    answer = await http.get(path, params=params)
    while True:
        for item in answer.raise_for_status().json()["items"]:
            yield item
        if "next" not in answer.links:
            return
        answer = await http.get(answer.url.join(answer.links["next"]["url"]))


def token_for(app: Servey, authorization: Authorization) -> str:
    """Return a token for this authorization, signed with the app's key. Errors: ConfigError if the app cannot sign."""
    authorizer = app.runtime.authorizer
    if not isinstance(authorizer, JwtAuthorizer):
        raise ConfigError("this app cannot sign tokens; set JWT_SECRET_KEY for the tests")
    return authorizer.sign(authorization, lifetime=TOKEN_SECONDS)


class Subscriber:
    """A websocket client of an event channel.

    Shape: ``id`` is its subscriber id; ``cursor`` is the position after the last received event, or None for a channel
    without history; ``recovered`` is whether it resumed from ``after`` without losing events.
    """

    def __init__(self, socket: WebSocketTestSession, subscribed: Mapping[str, Any]) -> None:
        self._socket = socket
        self.id: str = subscribed["subscriber_id"]
        self.cursor: str | None = subscribed.get("cursor")
        self.recovered: bool | None = subscribed.get("recovered")

    def next(self) -> Any:
        """Wait for the next event and return its JSON value. Errors: AssertionError for any other frame."""
        frame = self._socket.receive_json()
        if frame["type"] != "Event":
            raise AssertionError(f"expected an event, got {frame}")
        self.cursor = frame.get("cursor")
        return frame["payload"]


@contextmanager
def subscribe(
    http: TestClient, channel: str, *, after: str | None = None, subscriber_id: str | None = None
) -> Iterator[Subscriber]:
    """Subscribe to a channel with the token of the `client`; with ``after``, resume from that cursor.

    Errors: AssertionError with the app's error if the subscription is refused.
    """
    frame = {"type": "Subscribe", "payload": channel, "after": after, "subscriber_id": subscriber_id}
    with http.websocket_connect("/subscription") as socket:
        socket.send_json({name: value for name, value in frame.items() if value is not None})
        answer = socket.receive_json()
        if answer["type"] != "Subscribed":
            raise AssertionError(f"cannot subscribe to '{channel}': {answer['detail']} ({answer['code']})")
        yield Subscriber(socket, answer)
