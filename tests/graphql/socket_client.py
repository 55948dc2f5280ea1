"""A client of GraphQL over a websocket."""

import json
from contextlib import contextmanager

import pytest
from starlette.websockets import WebSocketDisconnect

from servey import Authorization

PROTOCOL = "graphql-transport-ws"

ADA = Authorization("ada", frozenset({"read"}))

BOSS = Authorization("boss", frozenset({"root"}))


class Socket:
    """One connection, with the messages of the protocol."""

    def __init__(self, session) -> None:
        self.session = session

    def send(self, type_: str, **message) -> None:
        self.session.send_text(json.dumps({"type": type_} | message))

    def next(self) -> dict:
        return json.loads(self.session.receive_text())

    def init(self, **payload) -> None:
        self.send("connection_init", payload=payload)
        assert self.next() == {"type": "connection_ack"}

    def subscribe(self, query: str, number: str = "1", **variables) -> None:
        self.send("subscribe", id=number, payload={"query": query, "variables": variables})

    def all_of(self, number: str = "1") -> list[dict]:
        """Return all payloads of an operation."""
        found = []
        while True:
            message = self.next()
            assert message["id"] == number
            if message["type"] == "complete":
                return found
            found.append(message["payload"])
            if message["type"] == "error":
                return found

    def closed_with(self) -> int:
        with pytest.raises(WebSocketDisconnect) as closed:
            self.session.receive_text()
        return closed.value.code


@contextmanager
def connected(http, *, protocols=(PROTOCOL,), **headers):
    with http.websocket_connect("/graphql", subprotocols=list(protocols), headers=headers) as session:
        yield Socket(session)
