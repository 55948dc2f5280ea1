"""A client of the RealWorld API: every operation of its specification, in the order in which a blog uses them."""

import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.aws.tools import run_newman
from tests.serving import wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ARTICLE = {
    "slug": str,
    "title": str,
    "description": str,
    "body": str,
    "tagList": list,
    "createdAt": str,
    "updatedAt": str,
    "favorited": bool,
    "favoritesCount": int,
    "author": dict,
}

NEWS = {"title": "News", "description": "What happened", "body": "A lot."}


class Person:
    """A user with a client of their own, anonymous until they register."""

    def __init__(self, api: str) -> None:
        self.http = httpx.Client(base_url=api, timeout=30)
        self.name = f"u{uuid.uuid4().hex[:12]}"
        self.account = {"username": self.name, "email": f"{self.name}@example.com", "password": "correct horse"}

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if status != 204 else None

    def refused(self, method: str, path: str, status: int, body: Any = None) -> dict[str, list[str]]:
        """Call, check that the error has the API's shape, and return it by field."""
        errors = self.call(method, path, body, status)["errors"]
        assert errors, path
        assert all(isinstance(each, str) for messages in errors.values() for each in messages), errors
        return errors

    def keep_token(self, user: dict[str, Any]) -> None:
        self.http.headers["Authorization"] = f"Token {user['token']}"


def check_article(article: dict[str, Any], **expected: Any) -> None:
    assert {name: type(value) for name, value in article.items()} == ARTICLE
    assert TIME.fullmatch(article["createdAt"])
    assert TIME.fullmatch(article["updatedAt"])
    assert set(article["author"]) == {"username", "bio", "image", "following"}
    assert {name: article[name] for name in expected} == expected


def check_list(found: dict[str, Any], *slugs: str) -> None:
    assert found["articlesCount"] == len(slugs)
    assert [each["slug"] for each in found["articles"]] == list(slugs)
    for each in found["articles"]:
        check_article(each)


def check_api(api: str) -> None:
    """Use every operation of the API at this URL, e.g. `http://127.0.0.1:8000/api`."""
    with Person(api) as ada, Person(api) as bob, Person(api) as anyone:
        check_users(ada, bob, anyone)
        check_articles(ada, bob, anyone)
        check_comments(ada, bob, anyone)


def check_users(ada: Person, bob: Person, anyone: Person) -> None:
    user = ada.call("POST", "/users", {"user": ada.account}, 201)["user"]
    assert {name: user[name] for name in ("username", "email", "bio", "image")} == {
        "username": ada.name,
        "email": ada.account["email"],
        "bio": None,
        "image": None,
    }
    assert set(anyone.refused("POST", "/users", 422, {"user": ada.account})) & {"email", "username"}
    assert {"email", "password"} <= set(anyone.refused("POST", "/users", 422, {"user": {"username": "eve"}}))
    anyone.refused("POST", "/users/login", 401, {"user": {"email": ada.account["email"], "password": "wrong"}})
    anyone.refused("GET", "/user", 401)
    ada.keep_token(ada.call("POST", "/users/login", {"user": ada.account})["user"])
    assert ada.call("GET", "/user")["user"]["email"] == ada.account["email"]
    changed = ada.call("PUT", "/user", {"user": {"bio": "I count", "image": "https://example.com/a.png"}})["user"]
    assert (changed["bio"], changed["image"], changed["username"]) == (
        "I count",
        "https://example.com/a.png",
        ada.name,
    )

    bob.keep_token(bob.call("POST", "/users", {"user": bob.account}, 201)["user"])
    path = f"/profiles/{ada.name}"
    profile = {"username": ada.name, "bio": "I count", "image": "https://example.com/a.png", "following": False}
    assert anyone.call("GET", path)["profile"] == profile
    anyone.refused("POST", f"{path}/follow", 401)
    assert bob.call("POST", f"{path}/follow")["profile"] == {**profile, "following": True}
    assert bob.call("GET", path)["profile"]["following"] is True
    anyone.refused("GET", "/profiles/nobody-has-this-name", 404)


def check_articles(ada: Person, bob: Person, anyone: Person) -> None:
    tag = f"tag{uuid.uuid4().hex[:12]}"
    text = {"title": "How to train your dragon", "description": "Ever wonder how?", "body": "Very carefully."}
    anyone.refused("POST", "/articles", 401, {"article": text})
    assert {"description", "body"} <= set(ada.refused("POST", "/articles", 422, {"article": {"title": "Only"}}))
    first = ada.call("POST", "/articles", {"article": {**text, "tagList": [tag, "dragons"]}}, 201)["article"]
    check_article(first, **text, tagList=["dragons", tag], favorited=False, favoritesCount=0)
    second = ada.call("POST", "/articles", {"article": text}, 201)["article"]
    assert first["slug"] != second["slug"]
    path = f"/articles/{first['slug']}"

    check_list(anyone.call("GET", f"/articles?author={ada.name}"), second["slug"], first["slug"])
    assert anyone.call("GET", f"/articles?author={ada.name}&limit=1&offset=1")["articles"][0]["slug"] == first["slug"]
    check_list(anyone.call("GET", f"/articles?tag={tag}"), first["slug"])
    check_list(bob.call("GET", "/articles/feed"), second["slug"], first["slug"])
    check_list(ada.call("GET", "/articles/feed"))
    anyone.refused("GET", "/articles/feed", 401)
    assert tag in anyone.call("GET", "/tags")["tags"]
    check_article(bob.call("GET", path)["article"], author={**first["author"], "following": True})

    changed = ada.call("PUT", path, {"article": {"body": "With two hands."}})["article"]
    check_article(changed, title=text["title"], body="With two hands.", tagList=["dragons", tag])
    bob.refused("PUT", path, 403, {"article": {"body": "Mine"}})
    anyone.refused("GET", "/articles/there-is-no-such-article", 404)

    check_article(bob.call("POST", f"{path}/favorite")["article"], favorited=True, favoritesCount=1)
    check_list(anyone.call("GET", f"/articles?favorited={bob.name}"), first["slug"])
    check_article(ada.call("GET", path)["article"], favorited=False, favoritesCount=1)
    check_article(bob.call("DELETE", f"{path}/favorite")["article"], favorited=False, favoritesCount=0)
    bob.refused("DELETE", path, 403)
    ada.call("DELETE", path, status=204)
    anyone.refused("GET", path, 404)


def check_comments(ada: Person, bob: Person, anyone: Person) -> None:
    slug = anyone.call("GET", f"/articles?author={ada.name}")["articles"][0]["slug"]
    path = f"/articles/{slug}/comments"
    comment = bob.call("POST", path, {"comment": {"body": "Thank you so much!"}})["comment"]
    assert (comment["body"], comment["author"]["username"]) == ("Thank you so much!", bob.name)
    assert TIME.fullmatch(comment["createdAt"])
    assert anyone.call("GET", path) == {"comments": [comment]}
    anyone.refused("POST", path, 401, {"comment": {"body": "Me too"}})
    ada.refused("DELETE", f"{path}/{comment['id']}", 403)
    bob.call("DELETE", f"{path}/{comment['id']}", status=204)
    assert bob.call("GET", path) == {"comments": []}
    assert bob.call("DELETE", f"/profiles/{ada.name}/follow")["profile"]["following"] is False


def check_notifications(api: str) -> None:
    """Check what Conduit adds to the API: a job notifies the followers of an author after each new article."""
    with Person(api) as ada, Person(api) as bob:
        register(ada, bob)
        bob.call("POST", f"/profiles/{ada.name}/follow")
        slug = ada.call("POST", "/articles", {"article": NEWS}, 201)["article"]["slug"]
        wait_until(lambda: bob.call("GET", "/notifications") == [slug], "the job of the article", within=60)
        assert ada.call("GET", "/notifications") == []


def check_events(server: str, created: str = "{ article { slug } }") -> None:
    """Check that an article that is written over GraphQL is an event for a websocket that is open already.

    ``created`` is the selection of the mutation's result.
    """
    with Person(f"{server}/api") as ada, connect(f"ws{server.removeprefix('http')}/subscription/published") as socket:
        register(ada)
        fields = ", ".join(f"{name}: {json.dumps(value)}" for name, value in NEWS.items())
        query = f"mutation {{ createArticle(article: {{{fields}}}) {created} }}"
        data = ada.http.post(f"{server}/graphql", json={"query": query}).json()["data"]["createArticle"]
        slug = data.get("article", data)["slug"]
        while (event := json.loads(socket.recv(timeout=30)))["slug"] != slug:
            pass
        assert event == {"slug": slug, "title": NEWS["title"], "author": ada.name}


def check_graphql_and_page(server: str) -> None:
    with Person(f"{server}/api") as ada:
        register(ada)
        slugs = [ada.call("POST", "/articles", {"article": NEWS}, 201)["article"]["slug"] for _ in range(2)]
        for slug in slugs:
            ada.call("POST", f"/articles/{slug}/comments", {"comment": {"body": slug}})
        query = "{ posts(limit: 2) { slug author { username } comments { body author { username } } } }"
        found = ada.http.post(f"{server}/graphql", json={"query": query}).json()
        assert found == {
            "data": {
                "posts": [
                    {
                        "slug": slug,
                        "author": {"username": ada.name},
                        "comments": [{"body": slug, "author": {"username": ada.name}}],
                    }
                    for slug in reversed(slugs)
                ]
            }
        }
        assert NEWS["title"] in ada.http.get(f"{server}/").text


def check_collection(api: str, folder: Path) -> None:
    """Run the Postman collection of the RealWorld project by newman; skips the test where nobody has named the file."""
    collection = os.environ.get("REALWORLD_COLLECTION")
    if collection is None:
        pytest.skip("REALWORLD_COLLECTION must name the Postman collection of the RealWorld project")
    name = f"u{uuid.uuid4().hex[:12]}"
    variables = {"APIURL": api, "USERNAME": name, "EMAIL": f"{name}@example.com", "PASSWORD": "correct horse"}
    report = run_newman(Path(collection).resolve(), folder / "report.json", **variables)
    assert report["failures"] == []
    assert report["total"] > 300


def register(*people: Person) -> None:
    for person in people:
        person.keep_token(person.call("POST", "/users", {"user": person.account}, 201)["user"])
