"""Tests of the project's own routes beside Servey's actions."""

import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1]))

from app import api


@pytest.fixture
def client(monkeypatch):
    with TestClient(api) as client:
        yield client


def test_both_sides_see_the_same_data(client):
    ada = {"X-Member": "ada"}
    assert client.get("/shelf", headers=ada).json() == ["Ulysses"]
    assert client.post("/servey/actions/borrow", json={"title": "Dune"}, headers=ada).json() == "Dune is yours, ada"
    assert client.get("/shelf", headers=ada).json() == ["Dune", "Ulysses"]
    assert client.get("/servey/actions/find-books", params={"text": "u"}).json() == ["Dune", "Ulysses"]


def test_the_projects_authorization_is_that_of_the_actions(client):
    assert client.get("/shelf").status_code == 401
    refused = client.post("/servey/actions/borrow", json={"title": "Emma"})
    assert (refused.status_code, refused.json()["detail"]) == (401, "Say who you are in X-Member")


def test_the_projects_middleware_is_around_them(client):
    assert client.get("/servey/actions/find-books").headers["X-Library"] == "open"


def test_errors_and_documents(client):
    answer = client.post("/servey/actions/borrow", json={"title": "Ulysses"}, headers={"X-Member": "bob"})
    assert (answer.status_code, answer.json()) == (409, {"detail": "Somebody has it", "code": "conflict"})
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/shelf", "/servey/actions/borrow", "/servey/actions/find-books"} <= set(paths)


def test_events_reach_who_watches(client):
    with client.websocket_connect("/servey/subscription/loans") as socket:
        client.post("/servey/actions/borrow", json={"title": "Emma"}, headers={"X-Member": "eve"})
        assert socket.receive_json() == "eve has Emma"


def test_both_lifespans_run():
    with TestClient(api) as client:
        assert client.get("/shelf", headers={"X-Member": "ada"}).json() == ["Ulysses"]
    with TestClient(api) as client:  # starts again: the project's lifespan creates a new library
        assert client.get("/shelf", headers={"X-Member": "ada"}).json() == ["Ulysses"]
