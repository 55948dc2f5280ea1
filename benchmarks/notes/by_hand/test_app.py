import json
import os

from app import app, count_words
from fastapi.testclient import TestClient
from redis.asyncio import Redis


def test_a_note_is_added_and_counted() -> None:
    with TestClient(app) as http:
        assert http.post("/notes", json={"text": ""}).status_code == 422
        with http.websocket_connect("/live") as socket:
            added = http.post("/notes", json={"text": "three little words"})
            assert added.status_code == 201
            http.portal.call(run_job, added.json()["id"])
            assert json.loads(socket.receive_text())["words"] == 3


async def run_job(id: int) -> None:
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        await count_words({"redis": redis, "job_try": 1}, id)
