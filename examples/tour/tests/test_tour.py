"""How a project tests its actions: the examples run automatically, the rest is tested over HTTP."""

import json
import time

import pytest
from shop import SHOP

from servey import Authorization, Settings, create_app
from servey.testing import client, define_test_class, subscribe

APP = create_app(settings=Settings(env="dev"))
ADDRESS = {"name": "Grace", "street": "2 Compiler Lane", "city": "Arlington"}

TestExamples = define_test_class(APP)


@pytest.fixture
def http():
    with client(APP) as http:
        yield http


def test_a_search_is_the_same_by_query_and_by_body(http):
    by_query = http.get("/actions/search-products?departments=books&departments=garden&price.most=30").json()
    wanted = {"departments": ["books", "garden"], "price": {"most": 30}}
    assert by_query == http.post("/products/search", json=wanted).json()
    assert [product["name"] for product in by_query] == ["The Design of Everyday Things", "Watering can"]


def test_an_order_is_placed_changed_and_cancelled(http):
    order = http.post("/orders", json={"lines": [{"product": 6, "quantity": 2}], "ship_to": ADDRESS}).json()
    path = f"/orders/{order['id']}"
    assert http.get(f"{path}/total").json() == "178.00"
    moved = http.put(f"{path}/address", json={"ship_to": {**ADDRESS, "city": "Washington"}}).json()
    assert moved["ship_to"]["city"] == "Washington"
    assert http.delete(path).json()["state"] == "cancelled"


def test_an_order_that_was_sent_stays_as_it_is(http):
    answer = http.delete("/orders/10")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert http.get("/orders/10").json()["state"] == "sent"


def test_an_order_is_noted_in_the_log(http):
    order = http.post("/orders", json={"lines": [{"product": 1}], "ship_to": ADDRESS}).json()
    with client(APP, authorization=Authorization("chief", frozenset({"root"}))) as chief:
        assert chief.get("/actions/read-log").json()[-1] == f"order {order['id']} over 59.90"


def test_an_order_is_packed_a_minute_later(http):
    order = http.post("/orders", json={"lines": [{"product": 1}], "ship_to": ADDRESS}).json()
    jobs = http.portal.call(APP.runtime.queue.jobs)
    (job,) = [each for each in jobs if each.job.params == {"order_id": order["id"]}]
    assert (job.state, job.job.action) == ("queued", "pack_order")
    assert 50 < job.due_at - time.time() <= 60


def test_the_accounts_are_told_every_morning(http):
    told = http.portal.call(APP.runtime.catalog["tell_accounts"].fn)
    assert told is None
    (job,) = [each for each in http.portal.call(APP.runtime.queue.jobs) if each.job.channel == "accounts"]
    assert job.job.params["orders"] == len(SHOP.orders)


def test_orders_are_for_oneself_and_for_root(http):
    assert http.get("/people/ada/orders").status_code == 401
    with client(APP, authorization=Authorization("ada")) as ada:
        assert ada.get("/people/ada/orders").status_code == 200
        assert ada.get("/people/bob/orders").status_code == 403


def test_an_import_tells_its_progress(http):
    reviews = [{"product": 4, "stars": stars} for stars in (5, 1)]
    lines = http.post("/actions/import-reviews", json={"reviews": reviews}).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"done": 1, "total": 2}, {"done": 2, "total": 2}]
    assert [review["stars"] for review in http.get("/products/4/reviews").json()] == [5, 1]


def test_the_report_is_kept_until_it_is_to_be_fresh(http):
    before = http.get("/actions/sales")
    assert before.headers["cache-control"] == "public, max-age=60"
    http.post("/orders", json={"lines": [{"product": 6, "quantity": 9}], "ship_to": ADDRESS})
    assert http.get("/actions/sales").content == before.content
    again = http.get("/actions/sales", headers={"If-None-Match": before.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    http.post("/actions/refresh-sales")
    assert http.get("/actions/sales").content != before.content


def test_an_upload(http):
    file = b"5,4,Sharp\n5,9,too many stars\n"
    answer = http.post("/actions/upload-reviews", files={"file": file}, data={"written_on": "2026-05-01"})
    assert answer.json() == {"taken": 1, "refused_lines": [2]}
    assert http.get("/products/5/reviews").json()[-1]["written_on"] == "2026-05-01"


def test_what_is_said_is_heard_and_can_be_caught_up_with(http):
    with subscribe(http, "chat") as listener:
        http.post("/actions/say", json={"line": {"name": "Ada", "text": "hello"}})
        assert listener.next()["text"] == "hello"
    http.post("/actions/say", json={"line": {"name": "Ada", "text": "still there?"}})
    with subscribe(http, "chat", after=listener.cursor) as listener:
        assert listener.recovered
        assert listener.next()["text"] == "still there?"
