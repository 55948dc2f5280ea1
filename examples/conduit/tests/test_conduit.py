"""The RealWorld API over HTTP, on a real database: SQLite, or the one of CONDUIT_DATABASE_URL."""

import os
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import event

os.environ.setdefault("CONDUIT_DATABASE_URL", f"sqlite+aiosqlite:///{tempfile.mkdtemp()}/conduit.db")
os.environ.setdefault("JWT_SECRET_KEY", "a-secret-of-at-least-32-bytes-for-tests")
sys.path.insert(0, str(Path(__file__).parents[1]))

import accounts
from app import servey_app
from argon2 import PasswordHasher
from database import engine

from servey.testing import client

accounts._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # fast; the tests need no strong hash
numbers = count(int(time.time() * 1000))


@pytest.fixture(scope="module")
def http():
    with client(servey_app) as http:
        yield http


class Person:
    """A registered user and what they do."""

    def __init__(self, http):
        self.http, self.name = http, f"u{next(numbers)}"
        self.given = {"username": self.name, "email": f"{self.name}@example.com", "password": "correct horse"}
        answer = http.post("/api/users", json={"user": self.given})
        assert answer.status_code == 201
        self.headers = {"Authorization": f"Token {answer.json()['user']['token']}"}

    def call(self, method, path, body=None, status=200):
        answer = self.http.request(method, f"/api{path}", json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def write(self, title="How to train your dragon", **more):
        article = {"title": title, "description": "Ever wonder how?", "body": "Very carefully.", **more}
        return self.call("POST", "/articles", {"article": article}, 201)["article"]


@pytest.fixture
def ada(http):
    return Person(http)


@pytest.fixture
def bob(http):
    return Person(http)


def errors(answer):
    return answer.status_code, answer.json()["errors"]


def test_users(http, ada, bob):
    credentials = {"email": ada.given["email"].upper(), "password": ada.given["password"]}
    assert http.post("/api/users/login", json={"user": credentials}).json()["user"]["username"] == ada.name
    for wrong in ({"password": "wrong"}, {"email": "nobody@example.com"}):
        answer = http.post("/api/users/login", json={"user": credentials | wrong})
        assert errors(answer) == (401, {"email or password": ["is invalid"]})
    again = http.post("/api/users", json={"user": ada.given | {"username": f"{ada.name}x"}})
    assert errors(again) == (422, {"email": ["has already been taken"]})
    again = http.post("/api/users", json={"user": ada.given | {"email": f"x{ada.given['email']}"}})
    assert errors(again) == (422, {"username": ["has already been taken"]})

    changed = ada.call("PUT", "/user", {"user": {"bio": "I count", "password": "battery staple"}})["user"]
    assert (changed["bio"], changed["email"], changed["image"]) == ("I count", ada.given["email"], None)
    assert http.post("/api/users/login", json={"user": credentials}).status_code == 401
    # An error rolls the whole change back.
    taken = {"user": {"bio": "I am Bob", "username": bob.name}}
    assert ada.call("PUT", "/user", taken, 422) == {"errors": {"username": ["has already been taken"]}}
    assert ada.call("GET", "/user")["user"]["bio"] == "I count"


def test_errors(http, ada):
    assert errors(http.get("/api/user"))[0] == 401
    assert errors(http.get("/api/user", headers={"Authorization": "Token not.a.token"}))[0] == 401
    assert errors(http.post("/api/articles", json={"article": {}}))[0] == 401  # before the body is validated
    assert errors(http.get("/api/articles/none")) == (404, {"body": ["There is no such article"]})
    assert errors(http.get("/api/nowhere"))[0] == 404
    assert errors(http.get("/api/articles?limit=1000"))[0] == 422
    invalid = {"user": {"username": " ", "email": "no address", "password": "short"}}
    status, found = errors(http.post("/api/users", json=invalid))
    assert (status, sorted(found)) == (422, ["email", "password", "username"])


def test_articles(http, ada, bob):
    tag = f"tag{next(numbers)}"
    article = ada.write(tagList=["dragons", tag, tag])
    path = f"/articles/{article['slug']}"
    assert (article["tagList"], article["author"]["username"]) == (["dragons", tag], ada.name)
    assert article["slug"].startswith("how-to-train-your-dragon-")
    assert article["createdAt"].endswith("Z")
    assert tag in http.get("/api/tags", params={"limit": 5}).json()["tags"]
    assert bob.call("PUT", path, {"article": {"body": "Mine"}}, 403) == {
        "errors": {"body": ["This article has another author"]}
    }
    bob.call("DELETE", path, status=403)
    changed = ada.call("PUT", path, {"article": {"body": "With care."}})["article"]
    assert (changed["body"], changed["slug"]) == ("With care.", article["slug"])
    renamed = ada.call("PUT", path, {"article": {"title": "Dragons: 2nd edition"}})["article"]
    assert renamed["slug"].startswith("dragons-2nd-edition-")
    path = f"/articles/{renamed['slug']}"

    for expected in (1, 1):  # twice is once
        liked = bob.call("POST", f"{path}/favorite")["article"]
        assert (liked["favorited"], liked["favoritesCount"]) == (True, expected)
    assert (ada.call("GET", path)["article"]["favorited"]) is False
    for query in ({"tag": tag}, {"author": ada.name}, {"favorited": bob.name}):
        found = http.get("/api/articles", params=query).json()
        assert (found["articlesCount"], found["articles"][0]["slug"]) == (1, renamed["slug"])
        assert http.get("/api/articles", params=query | {"offset": 1}).json()["articles"] == []
    assert bob.call("DELETE", f"{path}/favorite")["article"]["favoritesCount"] == 0

    comment = bob.call("POST", f"{path}/comments", {"comment": {"body": "Thank you"}})["comment"]
    assert http.get(f"/api{path}/comments").json() == {"comments": [comment]}
    other = ada.write()["slug"]
    ada.call("DELETE", f"{path}/comments/{comment['id']}", status=403)
    bob.call("DELETE", f"/articles/{other}/comments/{comment['id']}", status=404)
    bob.call("DELETE", f"{path}/comments/{comment['id']}", status=204)
    bob.call("POST", f"{path}/comments", {"comment": {"body": "Again"}})
    bob.call("POST", f"{path}/favorite")
    ada.call("DELETE", path, status=204)  # with its comment, tags and favorites
    assert http.get(f"/api{path}").status_code == 404


def test_following(ada, bob):
    article = ada.write()
    assert bob.call("GET", "/articles/feed") == {"articles": [], "articlesCount": 0}
    for _ in range(2):
        assert bob.call("POST", f"/profiles/{ada.name}/follow")["profile"]["following"] is True
    assert bob.call("GET", "/articles/feed")["articles"][0]["slug"] == article["slug"]
    assert bob.call("GET", f"/articles/{article['slug']}")["article"]["author"]["following"] is True
    assert bob.call("DELETE", f"/profiles/{ada.name}/follow")["profile"]["following"] is False
    bob.call("GET", "/profiles/nobody", status=404)


def test_a_new_article_is_an_event_and_a_job(http, ada, bob):
    bob.call("POST", f"/profiles/{ada.name}/follow")
    with http.websocket_connect("/subscription/published") as socket:
        slug = ada.write("News")["slug"]
        while (seen := socket.receive_json())["slug"] != slug:
            pass
        assert seen == {"slug": slug, "title": "News", "author": ada.name}
    deadline = time.monotonic() + 10
    while bob.call("GET", "/notifications") != [slug]:
        assert time.monotonic() < deadline
    assert ada.call("GET", "/notifications") == []


def test_graphql_loads_authors_and_comments_in_batches(http, ada, bob):
    for number in range(4):
        slug = ada.write(f"Number {number}")["slug"]
        bob.call("POST", f"/articles/{slug}/comments", {"comment": {"body": f"Comment {number}"}})
    statements = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    query = """query ($limit: Int!) {
        posts(limit: $limit) { title author { username } comments { body author { username } } }
    }"""
    counted = []
    for limit in (1, 4):
        statements.clear()
        answer = http.post("/graphql", json={"query": query, "variables": {"limit": limit}}).json()
        counted.append(len([each for each in statements if "FROM users" in each or "FROM comments" in each]))
    assert counted[0] == counted[1]
    assert answer["data"]["posts"][0] == {
        "title": "Number 3",
        "author": {"username": ada.name},
        "comments": [{"body": "Comment 3", "author": {"username": bob.name}}],
    }


def test_the_page(http, ada):
    ada.write("<b>Bold</b>")
    assert "&lt;b&gt;Bold" in http.get("/").text
