# tests/test_tickets.py
import time

import pytest
from app import servey_app

from servey import Authorization
from servey.testing import subscribe, token_for


def headers(name, *scopes):
    return {"Authorization": "Bearer " + token_for(servey_app, Authorization(name, frozenset(scopes)))}


ADA, BOB, AGENT = headers("ada"), headers("bob"), headers("eve", "agent")


@pytest.fixture(scope="module", autouse=True)
def users(http):
    for name in ("ada", "bob", "eve"):
        assert http.post("/actions/sign-up", json={"name": name, "password": "correct horse"}).status_code == 200


@pytest.fixture
def number(http):
    answer = http.post("/actions/open-ticket", json={"title": "My printer is on fire"}, headers=ADA)
    return answer.json()["number"]


def test_a_ticket_is_its_owners(http, number):
    assert http.get(f"/tickets/{number}", headers=ADA).json()["title"] == "My printer is on fire"
    assert http.get(f"/tickets/{number}", headers=AGENT).status_code == 200
    assert http.get(f"/tickets/{number}", headers=BOB).status_code == 404
    assert http.get(f"/tickets/{number}").status_code == 401


def test_only_an_agent_closes_a_ticket_and_only_once(http, number):
    assert http.post(f"/tickets/{number}/close", headers=ADA).status_code == 403
    assert http.post(f"/tickets/{number}/close", headers=AGENT).json()["is_open"] is False
    assert http.post(f"/tickets/{number}/close", headers=AGENT).json()["code"] == "conflict"


def test_signing_in(http):
    answer = http.post("/actions/sign-in", json={"name": "ada", "password": "correct horse"})
    mine = http.get("/actions/list-tickets", headers={"Authorization": f"Bearer {answer.json()}"})
    assert mine.status_code == 200
    assert http.post("/actions/sign-in", json={"name": "ada", "password": "wrong"}).status_code == 401


def comments(http, number):
    query = "query ($n: Int!) { getTicket(number: $n) { comments { author text } } }"
    answer = http.post("/graphql", json={"query": query, "variables": {"n": number}}, headers=ADA)
    return answer.json()["data"]["getTicket"]["comments"]


def test_comments_over_graphql(http, number):
    http.post("/actions/add-comment", json={"number": number, "text": "It spreads"}, headers=ADA)
    assert comments(http, number) == [{"author": "ada", "text": "It spreads"}]


def test_the_board_is_live(http):
    with subscribe(http, "board") as watching:
        http.post("/actions/open-ticket", json={"title": "Where is the key?"}, headers=BOB)
        assert watching.next() == http.get("/actions/board").json()
    assert "<h1>" in http.get("/board").text


def test_a_closed_ticket_gets_a_comment(http, number):
    http.post(f"/tickets/{number}/close", headers=AGENT)
    until = time.monotonic() + 10
    while not (found := comments(http, number)):
        assert time.monotonic() < until, "the job did not run"
    assert found == [{"author": "desk", "text": "Closed. Thank you for asking!"}]


def test_a_closed_ticket_is_posted_to_the_webhook(http, number, received):
    http.post(f"/tickets/{number}/close", headers=AGENT)
    while received.get(timeout=10)["number"] != number:
        pass
