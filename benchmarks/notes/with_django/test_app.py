import json

import pytest
from app import Note, app, count_words
from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import connection
from django.test import Client


@pytest.fixture(autouse=True)
def tables():
    with connection.schema_editor() as editor:
        editor.create_model(Note)


def test_a_note_is_added_and_counted(monkeypatch) -> None:
    enqueued = []
    monkeypatch.setattr(count_words, "delay", enqueued.append)
    http = Client()
    assert http.post("/notes", {"text": ""}, content_type="application/json").status_code == 422
    added = http.post("/notes", {"text": "three little words"}, content_type="application/json")
    assert added.status_code == 201
    assert enqueued == [added.json()["id"]]
    assert async_to_sync(count_and_listen)(*enqueued)["words"] == 3


async def count_and_listen(id: int) -> dict:
    socket = WebsocketCommunicator(app, "/live")
    assert (await socket.connect())[0]
    await sync_to_async(count_words)(id)
    note = json.loads(await socket.receive_from())
    await socket.disconnect()
    return note
