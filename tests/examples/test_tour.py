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


def test_it_is_called_from_the_command_line():
    done = run("-m", "servey", "call", "search_products", "text=knife", cwd=ROOT / "examples" / "tour")
    assert done.stdout == '[{"id":6,"name":"Chef\'s knife","department":"kitchen","price":"89.00"}]\n'


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
