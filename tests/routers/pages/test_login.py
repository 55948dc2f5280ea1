"""The login form, the cookie that it sets, and requests from other sites."""

import pytest

from servey import Authorization
from servey.testing import client, token_for
from tests.routers.pages.pages_app import app, project


def log_in(http, **more):
    return http.post(
        "/login",
        data={"username": "root", "password": "open sesame", **more},
        headers={"Accept": "text/html", "Origin": "http://testserver"},
        follow_redirects=False,
    )


def test_an_anonymous_visitor_gets_the_form(http):
    page = http.get("/inside?a=1")
    assert (page.status_code, page.headers["www-authenticate"]) == (401, "Bearer")
    assert '<form class="stack" method="post" action="/login">' in page.text
    assert 'name="next" value="/inside?a=1"' in page.text


def test_a_login_sets_the_cookie_that_opens_pages(http):
    answer = log_in(http, next="/inside?a=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/inside?a=1")
    cookie = answer.headers["set-cookie"]
    for part in ("servey_token=", "HttpOnly", "SameSite=lax", "Max-Age=3600", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert http.get("/inside").text == "root, root"


def test_the_cookie_is_secure_in_production(tmp_path):
    with client(app(project(tmp_path), env="prod")) as http:
        http.base_url = "https://testserver"
        answer = log_in(http)
        assert "Secure" in answer.headers["set-cookie"]
        assert http.get("/inside").status_code == 401 or "root" in http.get("/inside").text
        http.cookies.clear()
        page = http.get("/inside")
        assert page.status_code == 401
        assert "<form" not in page.text


def test_a_wrong_password_is_told_in_the_form(http):
    page = log_in(http, password="wrong", next="/inside")
    assert page.status_code == 401
    assert "Wrong name or password" in page.text
    assert 'value="/inside"' in page.text
    assert "set-cookie" not in page.headers


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/evil", "x"]
)
def test_a_login_leads_nowhere_else(http, onward):
    assert log_in(http, next=onward).headers["location"] == "/"


def test_a_program_logs_in_as_before(http):
    given = http.post("/login", data={"username": "root", "password": "open sesame"})
    assert given.json()["token_type"] == "bearer"
    assert "set-cookie" not in given.headers


def test_the_form_has_a_page_of_its_own(http):
    page = http.get("/login?next=/inside")
    assert 'value="/inside"' in page.text
    assert page.headers["cache-control"] == "no-store"


def test_a_header_wins_over_the_cookie(http):
    log_in(http)
    assert http.get("/inside", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_the_cookie_is_for_pages_alone(http):
    log_in(http)

    assert http.get("/openapi.json").status_code == 200
    assert http.post("/change", headers={"Origin": "http://testserver"}).text == "page, root"


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://testserver.evil.example", "http://testserver:81"]
)
def test_what_changes_something_is_not_done_for_another_site(http, origin):
    log_in(http)
    answer = http.post("/change", headers={} if origin is None else {"Origin": origin})
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert http.post("/change", headers={"Origin": "http://testserver"}).status_code == 200


def test_a_cookie_that_is_over_is_forgotten(http):
    http.cookies.set("servey_token", "not.a.token")
    page = http.get("/inside")
    assert page.status_code == 401
    assert 'servey_token=""' in page.headers["set-cookie"]
    assert "Max-Age=0" in page.headers["set-cookie"]
    assert http.get("/items/tea").status_code == 200


def test_a_token_without_the_scope(tmp_path):
    made = app(project(tmp_path))
    with client(made) as http:
        http.cookies.set("servey_token", token_for(made, Authorization("ada", frozenset({"read"}))))
        page = http.get("/inside")
    assert (page.status_code, 'data-code="forbidden"' in page.text) == (403, True)
