import asyncio
import json

from app import app, count_words
from litestar.testing import TestClient


def test_a_note_is_added_and_counted() -> None:
    with TestClient(app) as http:
        assert http.post("/notes", json={"text": ""}).status_code == 400
        with http.websocket_connect("/live/counted") as socket:
            added = http.post("/notes", json={"text": "three little words"})
            assert added.status_code == 201
            asyncio.run(count_words({}, id=added.json()["id"]))
            assert json.loads(socket.receive_text())["words"] == 3
