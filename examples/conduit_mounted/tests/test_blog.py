"""The project's own routes and Servey's actions, on one database, with one kind of user."""

import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

os.environ["BLOG_DATABASE_URL"] = f"sqlite+aiosqlite:///{tempfile.mkdtemp()}/blog.db"
os.environ.setdefault("SERVEY_CURSOR_KEY", "a-secret-of-at-least-32-bytes-for-tests")
sys.path.insert(0, str(Path(__file__).parents[1]))

from app import api

from servey.testing import client


@pytest.fixture(scope="module")
def http():
    with client(api) as http:
        yield http


@pytest.fixture(scope="module")
def ada(http):
    return as_user(http, "ada")


def as_user(http, name):
    return {"Authorization": f"Bearer {http.post('/users', params={'name': name}).json()}"}


def until(happened):
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline


def test_actions_share_the_session_and_the_users(http):
    assert http.post("/servey/articles", json={"title": "No"}).status_code == 401
    grace = as_user(http, "grace")
    made = http.post("/servey/articles", json={"title": "One two three"}, headers=grace)
    assert (made.status_code, made.json()["author"]) == (201, "grace")
    assert http.get("/me", headers=grace).json() == {"name": "grace", "articles": 1}
    until(lambda: http.post("/servey/report", headers=grace).json() == 3)  # the job has counted the words


def test_pages_on_rest_and_graphql(http, ada):
    for number in range(3):
        http.post("/servey/articles", json={"title": f"Number {number}"}, headers=ada)
    page = http.get("/servey/articles", params={"first": 2})
    assert [each["title"] for each in page.json()["items"]] == ["Number 2", "Number 1"]
    following = http.get(page.url.join(page.links["next"]["url"])).json()["items"]
    query = "query($after: String) { articles(first: 1, after: $after) { edges { node { title } } } }"
    body = {"query": query, "variables": {"after": page.json()["next"]}}
    edges = http.post("/servey/graphql", json=body).json()["data"]["articles"]["edges"]
    assert edges == [{"node": {"title": following[0]["title"]}}] == [{"node": {"title": "Number 0"}}]


def test_an_event_for_each_article(http, ada):
    with http.websocket_connect("/servey/subscription/published") as socket:
        http.post("/servey/articles", json={"title": "News"}, headers=ada)
        assert socket.receive_json() == "News"


def test_a_job_belongs_to_the_projects_user(http, ada):
    eve = as_user(http, "eve")
    job = http.post("/servey/report", headers={**ada, "Prefer": "respond-async"}).headers["location"]
    until(lambda: http.get(job, headers=ada).json()["state"] == "done")
    assert http.get(job, headers=eve).status_code == 404
