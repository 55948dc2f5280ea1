"""Pages: an action's result shown by a template, its input from a form, its errors as pages."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import File, UploadFile
from pydantic import Field, SecretStr
from starlette.responses import PlainTextResponse

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ConfigError,
    Context,
    NotFound,
    Redirect,
    ScopeAccessControl,
    SecureHashCacheControl,
    Settings,
    TtlCacheControl,
    WebPageResponse,
    WebPageTrigger,
    action,
    create_app,
)
from servey.testing import client, token_for


@dataclass
class Item:
    name: str
    price: float

    @property
    def label(self) -> str:
        return f"{self.name} for {self.price:.2f}"


class Colour(Enum):
    red = "red"
    blue = "blue"


@action(triggers=WebPageTrigger())
def current_time_page() -> datetime:
    return datetime(2030, 1, 2, 3, 4)


@action(triggers=(WebPageTrigger(path="/items/{name}"), WEB_GET))
async def item(name: str, price: float | None = None) -> Item:
    if name == "none":
        raise NotFound("no such item")
    return Item(name, price or 1.5)


@action(triggers=(WebPageTrigger("POST", "/orders"), WEB_POST))
async def order(
    name: Annotated[str, Field(min_length=2)],
    count: Annotated[int, Field(ge=1)] = 1,
    note: str = "none",
    gift: bool = False,
    colour: Colour = Colour.red,
    code: SecretStr | None = None,
) -> dict[str, Any]:
    return {"name": name, "count": count, "note": note, "gift": gift, "colour": colour.value, "code": code is not None}


@action(triggers=(WebPageTrigger("GET", "/order"), WebPageTrigger("POST", "/order-again", "order.j2")))
async def order_form() -> None: ...


@action(triggers=WebPageTrigger("POST"))
async def upload(title: str, picture: Annotated[UploadFile, File()]) -> dict[str, Any]:
    return {"title": title, "bytes": len(await picture.read())}


@action(triggers=(WebPageTrigger(), WEB_GET))
async def moved(to: str = "/current-time-page", status: int = 307) -> Redirect:
    return Redirect(to, status)


@action(triggers=(WebPageTrigger(), WEB_GET))
async def dressed(header: str = "x", template: str | None = None) -> WebPageResponse[Item]:
    return WebPageResponse(Item("tea", 2), 203, {"X-Mine": header}, template)


@action(triggers=WebPageTrigger(), access_control=ScopeAccessControl("root"))
async def inside(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None


@action(triggers=WebPageTrigger("POST", template_name="inside.j2"), access_control=ScopeAccessControl("root"))
async def change(context: Context) -> str:
    return context.via


@action(triggers=WebPageTrigger())
async def broken(secret: str = "hunter2") -> None:
    raise RuntimeError("db://user:pw@host")


@action(triggers=WebPageTrigger(template_name="misspelt.j2"))
async def misspelt() -> int:
    return 1


@action(triggers=WebPageTrigger(template_name="item.j2"), cache_control=SecureHashCacheControl())
async def kept() -> Item:
    return Item("kept", 1)


@action(triggers=WebPageTrigger(template_name="item.j2"), cache_control=TtlCacheControl(60))
async def rare() -> Item:
    return Item("rare", 1)


@action(triggers=WebPageTrigger(template_name="stream.j2"))
async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


@action(triggers=WebPageTrigger(template_name="item.j2"))
async def whole() -> PlainTextResponse:
    return PlainTextResponse("as it is")


ACTIONS = [
    current_time_page, item, order, order_form, upload, moved, dressed, inside, change, broken, misspelt, kept, rare,
    numbers, whole,
]  # fmt: skip

TEMPLATES = {
    "current_time_page.j2": "<h1>The current time is {{ model }}</h1>",
    "item.j2": "<p>{{ model.label }}<script>const item = {{ model | tojson }}</script>"
    '<a href="{{ url_for("current_time_page") }}">time</a> {{ request.url.path }}',
    "order.j2": "{% set shown = model or {} %}<p>{{ shown | tojson }}",
    "order_form.j2": '<form method="post" action="/orders"><input name="name"></form>',
    "upload.j2": "{{ model.title }}: {{ model.bytes }}",
    "moved.j2": "never",
    "dressed.j2": "{{ model.name }}",
    "inside.j2": "{{ model }}, {{ authorization.subject_id }}",
    "broken.j2": "",
    "misspelt.j2": "one\n{{ mdoel }}",
    "stream.j2": "{{ model | join('-') }}",
}


def project(folder: Path, **more: str) -> Path:
    for name, text in {**TEMPLATES, **more}.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def app(folder: Path, *actions: Any, **settings: Any):
    made = Settings(
        **{
            "env": "dev",
            "template_path": str(folder),
            "login_password": "open sesame",
            "jwt_secret_key": "a-secret-of-more-than-32-bytes-for-tests",
            **settings,
        }
    )
    return create_app(actions=actions or ACTIONS, settings=made)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with client(app(project(tmp_path_factory.mktemp("templates")))) as http:
        http.follow_redirects = False
        yield http


@pytest.fixture
def http(served):
    served.cookies.clear()
    return served


# ------------------------------------------------------------------------------------------------------- what is shown


def test_a_page_is_its_template_with_the_model(http):
    page = http.get("/current-time-page")
    assert page.text == "<h1>The current time is 2030-01-02 03:04:00</h1>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]


def test_the_model_is_the_users_own_object(http):
    page = http.get("/items/tea?price=2")
    assert "<p>tea for 2.00" in page.text
    assert 'const item = {"name":"tea","price":2.0}' in page.text
    assert 'href="/current-time-page"' in page.text
    assert page.text.endswith("/items/tea")


def test_it_answers_head_and_no_other_method(http):
    answer = http.head("/current-time-page")
    assert (answer.status_code, answer.content) == (200, b"")
    wrong = http.post("/current-time-page")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_an_action_has_its_page_and_its_route(http):
    assert http.get("/actions/item?name=tea").json() == {"name": "tea", "price": 1.5}
    assert "tea for 1.50" in http.get("/items/tea").text
    assert http.post("/actions/order", json={"name": "ada"}).json()["count"] == 1
    assert "/items/{name}" not in http.get("/openapi.json").json()["paths"]


def test_a_response_of_its_own_and_a_stream(http):
    assert http.get("/whole").text == "as it is"
    assert http.get("/numbers").text == "0-1-2"


def test_a_status_headers_and_another_template(http):
    page = http.get("/dressed?header=y")
    assert (page.status_code, page.text, page.headers["x-mine"]) == (203, "tea", "y")
    assert "tea for 2.00" in http.get("/dressed?template=item.j2").text
    assert http.get("/actions/dressed").json() == {"name": "tea", "price": 2.0}


def test_a_redirect(http):
    answer = http.get("/moved")
    assert (answer.status_code, answer.headers["location"]) == (307, "/current-time-page")
    assert http.get("/moved?status=303").status_code == 303
    assert http.get("/actions/moved").json() == {"url": "/current-time-page", "status_code": 307}


def test_what_is_not_a_redirect_is_said_at_once():
    with pytest.raises(ConfigError, match="one of 301, 302, 303, 307, 308"):
        Redirect("/", 200)


def test_cache_controls_apply(http):
    page = http.get("/kept")
    assert page.headers["cache-control"] == "private, no-cache"
    assert page.headers["vary"] == "Authorization, Cookie"
    assert http.get("/kept", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert http.get("/rare").headers["cache-control"] == "private, max-age=60"
    assert "rare for 1.00" in http.get("/rare").text  # from what the server has kept


# ------------------------------------------------------------------------------------------------------------- forms


def test_a_form_is_taken(http):
    page = http.post("/orders", data={"name": "ada", "count": "2", "note": "", "gift": "on", "colour": "blue"})
    assert page.text == '<p>{"name":"ada","count":2,"note":"","gift":true,"colour":"blue","code":false}'


def test_what_was_left_empty_has_its_default(http):
    page = http.post("/orders", data={"name": "ada", "count": "", "colour": ""})
    assert '"count":1' in page.text
    assert '"colour":"red"' in page.text


def test_a_multipart_form_with_a_file(http):
    page = http.post("/upload", data={"title": "a"}, files={"picture": ("a.png", b"12345")})
    assert page.text == "a: 5"


def test_json_is_taken_too(http):
    assert '"name":"ada"' in http.post("/orders", json={"name": "ada"}).text


def test_a_form_with_errors_is_shown_again_with_them(http):
    page = http.post("/orders", data={"name": "<", "count": "0", "note": '"><script>', "gift": "on", "code": "secret7"})
    assert page.status_code == 422
    assert '<form class="stack" method="post" action="/orders">' in page.text
    assert "at least 2 characters" in page.text
    assert "greater than or equal to 1" in page.text
    assert 'value="&lt;"' in page.text
    assert 'value="&quot;&gt;&lt;script&gt;"' in page.text
    assert 'name="gift" type="checkbox" value="true" checked' in page.text
    assert "<option>blue</option>" in page.text
    assert "secret7" not in page.text
    assert "<script" not in page.text


def test_a_missing_file_is_a_fields_error(http):
    page = http.post("/upload", data={"title": "a"})
    assert page.status_code == 422
    assert 'enctype="multipart/form-data"' in page.text
    assert 'data-field="picture"' in page.text
    assert "Field required" in page.text


def test_a_query_with_errors(http):
    page = http.get("/items/tea?price=x")
    assert page.status_code == 422
    assert "valid number" in page.text


# ------------------------------------------------------------------------------------------------------------- errors


def test_an_error_is_a_page(http):
    page = http.get("/items/none")
    assert (page.status_code, page.headers["cache-control"]) == (404, "no-store")
    assert "no such item" in page.text
    assert 'data-code="not_found"' in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_an_unexpected_error_is_explained_in_development_only(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    with client(app(project(tmp_path))) as http:
        page = http.get("/broken")
        assert (page.status_code, "RuntimeError: db://user:pw@host" in page.text) == (500, True)
        assert "hunter2" not in page.text
        assert "db://" not in http.get("/broken", headers={"Accept": "text/html"}).headers.values()
    with client(app(project(tmp_path), env="prod")) as http:
        page = http.get("/broken")
        assert page.status_code == 500
        assert "RuntimeError" not in page.text
        assert "db://" not in page.text
        assert page.headers["x-request-id"] in page.text


def test_a_name_that_is_not_there_is_an_error_with_its_line(http, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    page = http.get("/misspelt")
    assert page.status_code == 500
    assert "mdoel" in page.text
    assert "misspelt.j2&quot;, line 2" in page.text


@pytest.mark.parametrize("name", ["errors/not_found.j2", "errors/404.j2"])
def test_a_project_has_its_own_error_pages(tmp_path, name):
    with client(app(project(tmp_path, **{name: "<p>{{ error.detail }}, says {{ error.status }}"}))) as http:
        page = http.get("/items/none")
    assert (page.status_code, page.text) == (404, "<p>no such item, says 404")
    assert page.headers["cache-control"] == "no-store"


def test_its_own_page_of_invalid_fields_has_their_messages_and_values(tmp_path):
    own = "{{ values.name }}|{{ errors.count }}|{{ errors.name is defined }}|{{ url_for('order') }}"
    with client(app(project(tmp_path, **{"errors/422.j2": own}))) as http:
        page = http.post("/orders", data={"name": "<b>", "count": "many"})
    assert page.text.startswith("&lt;b&gt;|Input should be a valid integer")
    assert page.text.endswith("|False|/orders")


def test_an_error_page_that_fails_is_not_the_last_word(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    with client(app(project(tmp_path, **{"errors/404.j2": "{{ nothing }}"}))) as http:
        page = http.get("/items/none")
    assert (page.status_code, "no such item" in page.text) == (404, True)


# ------------------------------------------------------------------------------------------------------------- the start


def test_what_is_wrong_with_templates_is_said_at_start(tmp_path):
    @action(triggers=WebPageTrigger())
    async def lost() -> None: ...

    @action(triggers=WebPageTrigger(template_name="bad.j2"))
    async def bad() -> None: ...

    @action(triggers=WebPageTrigger(template_name="child.j2"))
    async def child() -> None: ...

    @action(triggers=WebPageTrigger(template_name="../outside.j2"))
    async def outside() -> None: ...

    folder = project(
        tmp_path / "templates",
        **{"bad.j2": "a\nb {% if %}", "child.j2": "{% extends 'parent.j2' %}", "errors/404.j2": "{{"},
    )
    (tmp_path / "outside.j2").write_text("secret", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        app(folder, lost, bad, child, outside)
    told = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 5
    assert "action 'lost'" in told
    assert "lost.j2" in told
    assert "bad.j2:2: Expected an expression" in told
    assert "parent.j2" in told
    assert "child.j2" in told
    assert "errors/404.j2:1" in told
    assert "test_pages.py" in told


def test_two_of_one_path_are_said_at_start(tmp_path):
    @action(triggers=WebPageTrigger(path="/actions/item", template_name="item.j2"))
    async def other() -> None: ...

    with pytest.raises(ConfigError, match="page of action 'other'.* and a route of action 'item'"):
        app(project(tmp_path), item, other)


def test_a_path_with_a_parameter_that_is_none(tmp_path):
    @action(triggers=WebPageTrigger(path="/x/{y}", template_name="item.j2"))
    async def one() -> None: ...

    with pytest.raises(ConfigError, match="has 'y', which is not a parameter"):
        app(project(tmp_path), one)


def test_templates_are_read_again_in_development(tmp_path):
    folder = project(tmp_path)
    with client(app(folder)) as dev, client(app(folder, env="prod")) as prod:
        for http in (dev, prod):
            assert "The current time" in http.get("/current-time-page").text
        (folder / "current_time_page.j2").write_text("changed and longer than it was before, by far", encoding="utf-8")
        assert dev.get("/current-time-page").text.startswith("changed")
        assert prod.get("/current-time-page").text.startswith("<h1>")


# ------------------------------------------------------------------------------------------------------------- the visitor


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
