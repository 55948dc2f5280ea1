"""The tour works, as its own tests and a user see it."""

import httpx
import pytest

from tests.browsing import browser, page_of
from tests.serving import ROOT, free_port, run, started


def test_its_own_tests_pass():
    done = run("-m", "pytest", "-q", "tests", cwd=ROOT / "examples" / "tour", timeout=60)
    assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_it_is_served(tour):
    found = httpx.get(f"{tour.url}/actions/search-products", params={"departments": "books", "price.most": "20"}).json()
    assert [product["name"] for product in found] == ["The Design of Everyday Things"]
    assert httpx.get(f"{tour.url}/openapi.json").json()["info"]["title"] == "Servey"
    assert httpx.get(f"{tour.url}/actions/read-log").status_code == 401


def test_it_has_a_page(tour):
    page = httpx.get(f"{tour.url}/shop-window", params={"text": "<knife"}).text
    assert "Nothing is called that." in page
    assert 'value="&lt;knife"' in page
    assert "knife, 89.00" in httpx.get(f"{tour.url}/shop-window", params={"text": "knife"}).text


def test_it_is_called_from_the_command_line():
    done = run("-m", "servey", "call", "search_products", "text=knife", cwd=ROOT / "examples" / "tour")
    assert done.stdout == '[{"id":6,"name":"Chef\'s knife","department":"kitchen","price":"89.00"}]\n'


def test_its_graphql_schema_is_the_one_that_is_kept_here():
    done = run("-m", "servey", "graphql-schema", "-o", "-", cwd=ROOT / "examples" / "tour")
    assert done.stderr == ""
    assert done.stdout == (ROOT / "tests" / "examples" / "tour.graphql").read_text(encoding="utf-8")


def test_it_answers_in_graphql(tour):
    query = """{
      browse(department: garden) { product { name department price } stars similar(limit: 1) { product { name } } }
      makeBasket(products: [1, 2]) { products total(discountPercent: 10) }
    }"""
    answer = httpx.post(f"{tour.url}/graphql", json={"query": query}).json()
    assert "errors" not in answer
    assert answer["data"]["browse"][0] == {
        "product": {"name": "Watering can", "department": "garden", "price": "24.95"},
        "stars": None,
        "similar": [{"product": {"name": "Secateurs"}}],
    }
    assert answer["data"]["makeBasket"] == {"products": [1, 2], "total": "70.56"}


@pytest.mark.browser
def test_the_chat_survives_a_restart_of_its_server():
    port = free_port()
    words = ["-m", "uvicorn", "servey.server:discovered_app", "--factory", "--port", str(port)]
    with browser() as opened, page_of(opened, allowed=("WebSocket connection",)) as page:
        with started(words, port, cwd="examples/tour", SERVEY_ENV="dev") as server:
            page.goto(f"{server.url}/chat.html")
            page.locator("#state", has_text="connected").wait_for()
            page.locator("[name=name]").fill("Ada")
            page.locator("[name=text]").fill("<b>before</b>")
            page.get_by_role("button").click()
            page.locator("li", has_text="Ada: <b>before</b>").wait_for()
        page.locator("#state", has_text="trying again").wait_for()
        with started(words, port, cwd="examples/tour", SERVEY_ENV="dev"):
            page.locator("#state", has_text="connected").wait_for()
            page.locator("[name=text]").fill("after")
            page.get_by_role("button").click()
            page.locator("li", has_text="Ada: after").wait_for()
