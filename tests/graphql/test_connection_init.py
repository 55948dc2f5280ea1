"""A token in the `connection_init` of a GraphQL websocket counts as the header would."""

from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from fastapi.testclient import TestClient

from servey import WEB_GET, Servey, Settings, action

bearer = OAuth2PasswordBearer("token")


@action(triggers=WEB_GET)
async def caller(token: Annotated[str, Depends(bearer)]) -> str:
    return token


def test_it_reaches_a_security_scheme_of_the_host() -> None:
    api = FastAPI()
    Servey(actions=[caller], channels=[], settings=Settings(env="dev")).install(api, prefix="/servey")
    with TestClient(api) as http:
        for payload, answer in (({"Authorization": "Bearer t1"}, {"caller": "t1"}), ({}, None)):
            with http.websocket_connect("/servey/graphql", subprotocols=["graphql-transport-ws"]) as socket:
                socket.send_json({"type": "connection_init", "payload": payload})
                assert socket.receive_json() == {"type": "connection_ack"}
                socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": "{ caller }"}})
                assert socket.receive_json()["payload"].get("data") == answer
