"""How a project tests its actions: their examples by themselves, and what matters over HTTP."""

import pytest

from servey import Authorization, Settings, create_app
from servey.testing import client, define_test_class

APP = create_app(settings=Settings(env="dev"))
ADDRESS = {"name": "Grace", "street": "2 Compiler Lane", "city": "Arlington"}

TestExamples = define_test_class(APP)


@pytest.fixture
def http():
    with client(APP) as http:
        yield http


def test_search_by_list_and_nested_object(http):
    found = http.get("/actions/search-products?departments=books&departments=garden&price.most=30").json()
    assert [product["name"] for product in found] == ["The Design of Everyday Things", "Watering can"]


def test_an_order_is_placed_once_and_cancelled_once(http):
    order = http.post("/orders", json={"lines": [{"product": 6, "quantity": 2}], "ship_to": ADDRESS}).json()
    assert http.get(f"/orders/{order['id']}/total").json() == "178.00"
    assert http.delete(f"/orders/{order['id']}").json()["state"] == "cancelled"
    again = http.delete(f"/orders/{order['id']}")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_only_root_and_oneself_see_orders(http):
    assert http.get("/people/ada/orders").status_code == 401
    with client(APP, authorization=Authorization("ada")) as ada:
        assert ada.get("/people/ada/orders").status_code == 200
        assert ada.get("/people/bob/orders").status_code == 403


def test_a_stream_is_json_lines(http):
    assert http.get("/actions/count-down?start=2").text == "2\n1\n0\n"


def test_an_upload(http):
    answer = http.post("/actions/check-price-list", files={"file": b"tea,1.50\n"}, data={"strict": "true"})
    assert answer.json() == {"tea": "1.50"}
