"""The tour works, as its own tests and a user see it."""

import httpx

from tests.serving import ROOT, run


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
