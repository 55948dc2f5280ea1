"""``POST /logout``: a visitor of pages forgets the token."""

import pytest

from servey import Authorization, Settings, WebPageTrigger, action, create_app
from servey.testing import client

RIGHT = {"username": "root", "password": "open sesame"}


@action(triggers=WebPageTrigger("GET", "/mine"))
def mine(authorization: Authorization) -> str:
    return str(authorization.subject_id)


@pytest.fixture
def app(tmp_path):
    (tmp_path / "mine.j2").write_text("for {{ model }}", encoding="utf-8")
    return create_app(
        actions=[mine], settings=Settings(env="dev", login_password="open sesame", template_path=str(tmp_path))
    )


def logged_in(http):
    answer = http.post("/login", data=RIGHT, headers={"Accept": "text/html"}, follow_redirects=False)
    assert answer.status_code == 303
    assert http.get("/mine").text == "for root"


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "/"),
        ("?next=/mine%3Fa=1", "/mine?a=1"),
        ("?next=https://other.example/", "/"),
        ("?next=//other.example/", "/"),
        ("?next=mine", "/"),
    ],
)
def test_the_cookie_is_deleted(app, query, target):
    with client(app) as http:
        logged_in(http)
        answer = http.post(f"/logout{query}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, target)
        assert answer.headers["cache-control"] == "no-store"
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith('servey_token=""; ')
        assert "max-age=0" in cookie
        assert "path=/;" in cookie
        assert http.get("/mine").status_code == 401


def test_another_site_cannot_log_a_visitor_out(app):
    with client(app) as http:
        logged_in(http)
        answer = http.post("/logout", headers={"Origin": "https://other.example"}, follow_redirects=False)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert http.get("/mine").status_code == 200


def test_a_link_does_not_log_out(app):
    with client(app) as http:
        logged_in(http)
        assert http.get("/logout", follow_redirects=False).status_code == 405
        assert http.get("/mine").status_code == 200


def test_below_a_root_path_and_in_production(tmp_path):
    (tmp_path / "mine.j2").write_text("for {{ model }}", encoding="utf-8")
    settings = Settings(
        env="prod",
        jwt_secret_key="a secret of more than thirty-two bytes",
        login_password="open sesame",
        root_path="/shop",
        template_path=str(tmp_path),
    )
    with client(create_app(actions=[mine], settings=settings)) as http:
        answer = http.post("/logout", follow_redirects=False)
    assert answer.headers["location"] == "/shop/"
    assert "path=/shop;" in answer.headers["set-cookie"].lower()
    assert "secure" in answer.headers["set-cookie"].lower()


def test_without_a_login_there_is_no_logout():
    settings = Settings(env="prod", jwt_secret_key="a secret of more than thirty-two bytes")
    with client(create_app(actions=[], settings=settings)) as http:
        assert http.post("/logout").status_code == 404
