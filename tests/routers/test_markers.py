"""What FastAPI's and pydantic's markers on parameters mean, on the wire and in OpenAPI."""

from typing import Annotated, Any

import pytest
from fastapi import Body, Cookie, Depends, File, Form, Header, Path, Query, UploadFile
from fastapi.security import OAuth2PasswordRequestForm
from openapi_spec_validator import validate
from pydantic import AliasChoices, AliasPath, BaseModel, Field

from servey import WEB_GET, WEB_POST, ConfigError, Settings, WebTrigger, action, create_app
from servey.testing import client


def serve(*actions: Any, strict: bool = False):
    app = create_app(actions=actions, settings=Settings(env="dev", strict_schema=strict))
    validate(app.openapi())
    return client(app)


def operation(http: Any, path: str, method: str) -> dict[str, Any]:
    return http.app.openapi()["paths"][path][method]


def body_fields(http: Any, path: str) -> tuple[str, set[str]]:
    """The media type of a body and the names of its fields."""
    [(media_type, content)] = operation(http, path, "post")["requestBody"]["content"].items()
    name = content["schema"]["$ref"].rpartition("/")[2]
    return media_type, set(http.app.openapi()["components"]["schemas"][name]["properties"])


def wrong(answer: Any) -> list[tuple[str, list[str | int]]]:
    assert answer.status_code == 422, answer.text
    return [(error["type"], error["loc"]) for error in answer.json()["detail"]]


# --------------------------------------------------------------------------------------------------------- aliases


@action(triggers=(WEB_GET, WEB_POST))
async def user(
    user_id: Annotated[int, Field(alias="userId")], page: Annotated[int, Query(alias="page.no")] = 1
) -> list:
    return [user_id, page]


def test_an_alias_is_the_only_name():
    with serve(user) as http:
        assert http.get("/actions/user?userId=3&page.no=2").json() == [3, 2]
        assert http.post("/actions/user?page.no=2", json={"userId": 3}).json() == [3, 2]
        assert wrong(http.get("/actions/user?user_id=3")) == [("missing", ["query", "userId"])]
        assert wrong(http.post("/actions/user", json={"user_id": 3})) == [("missing", ["body", "userId"])]
        assert http.post("/actions/user", json={"userId": 3, "page": 7, "page.no": 8}).json() == [3, 1]


@action(triggers=(WEB_GET, WEB_POST, WebTrigger("PUT", "/things/{id}")))
async def several(number: Annotated[int, Field(validation_alias=AliasChoices("n", "id"))]) -> int:
    return number


def test_several_aliases():
    with serve(several) as http:
        assert http.get("/actions/several?n=1").json() == 1
        assert http.get("/actions/several?id=2").json() == 2
        assert http.post("/actions/several", json={"id": 3}).json() == 3
        assert http.put("/things/5", json={"n": 6}).json() == 5
        assert wrong(http.post("/actions/several", json={"number": 3})) == [("missing", ["body", "n"])]
        shown = operation(http, "/things/{id}", "put")["parameters"]
        assert [(each["in"], each["name"]) for each in shown] == [("path", "id")]
        assert [each["name"] for each in operation(http, "/actions/several", "get")["parameters"]] == ["n"]


def test_an_alias_into_another_value_is_refused():
    def first_of(number: Annotated[int, Field(validation_alias=AliasPath("list", 0))]) -> int:
        return number

    with pytest.raises(
        ConfigError, match=r"action 'first_of' \(.*\): parameter 'number' has an AliasPath as its alias"
    ):
        create_app(actions=[action(first_of)], settings=Settings(env="dev"))


# ----------------------------------------------------------------------------------------------- Query, Path, hidden


@action(triggers=WebTrigger("GET", "/items/{item}"))
async def item(
    item: Annotated[int, Path(ge=1, description="which one")],
    hidden: Annotated[str, Query(include_in_schema=False)] = "",
    old: Annotated[int, Query(deprecated=True)] = 0,
) -> list:
    return [item, hidden, old]


def test_what_markers_say_stands_in_the_document():
    with serve(item) as http:
        assert http.get("/items/1?hidden=x&old=2").json() == [1, "x", 2]
        assert wrong(http.get("/items/0")) == [("greater_than_equal", ["path", "item"])]
        shown = {each["name"]: each for each in operation(http, "/items/{item}", "get")["parameters"]}
    assert set(shown) == {"item", "old"}
    assert (shown["item"]["description"], shown["item"]["schema"]["minimum"]) == ("which one", 1)
    assert shown["old"]["deprecated"] is True


# ------------------------------------------------------------------------------------------- bodies of dependencies


class Person(BaseModel):
    name: str
    tags: list[str] = []


def login_form(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> str:
    return form.username


@action(triggers=WEB_POST)
async def sign_in(user: Annotated[str, Depends(login_form)], again: int = 0) -> list:
    return [user, again]


@action(triggers=WEB_POST)
async def enrol(person: Annotated[Person, Form()], year: int) -> list:
    return [person, year]


@action(triggers=WEB_POST)
async def attach(file: Annotated[bytes, File()], cover: UploadFile | None, note: Annotated[str, Form()] = "") -> list:
    return [file.decode(), cover and cover.filename, note]


@pytest.mark.parametrize("strict", [False, True])
def test_forms(strict):
    with serve(sign_in, enrol, attach, strict=strict) as http:
        login = {"username": "ada", "password": "x"}
        assert http.post("/actions/sign-in", data=login).json() == ["ada", 0]
        assert http.post("/actions/sign-in", data={**login, "again": "2"}).json() == ["ada", 2]
        assert http.post("/actions/sign-in", files={"again": (None, "3")}, data=login).json() == ["ada", 3]
        assert ("missing", ["body", "password"]) in wrong(http.post("/actions/sign-in", data={"username": "ada"}))
        assert http.post("/actions/sign-in", json=login).status_code == 415
        assert body_fields(http, "/actions/sign-in")[0] == "application/x-www-form-urlencoded"
        assert {"username", "password", "again"} <= body_fields(http, "/actions/sign-in")[1]

        person = {"name": "Ada", "tags": ["a", "b"], "year": "1815"}
        assert http.post("/actions/enrol", data=person).json() == [{"name": "Ada", "tags": ["a", "b"]}, 1815]
        assert body_fields(http, "/actions/enrol") == ("application/x-www-form-urlencoded", {"name", "tags", "year"})

        sent = {"files": {"file": ("a", b"text"), "cover": ("c", b"")}, "data": {"note": "n"}}
        assert http.post("/actions/attach", **sent).json() == ["text", "c", "n"]
        assert body_fields(http, "/actions/attach") == ("multipart/form-data", {"file", "cover", "note"})


@pytest.mark.parametrize("body", [b"username=%FF&password=x", b"username=%00&password=x", b"username=\xff&password=x"])
def test_bad_text_in_a_form(body):
    with serve(sign_in) as http:
        sent = {"content": body, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        assert wrong(http.post("/actions/sign-in", **sent)) == [("string_unicode", ["body"])]


async def whole(person: Person, kind: Annotated[str, Body()] = "") -> str:
    return f"{kind} {person.name}"


@action(triggers=WEB_POST)
async def count(number: int, text: Annotated[str, Depends(whole)]) -> list:
    return [number, text]


@pytest.mark.parametrize("strict", [False, True])
def test_json_that_a_dependency_reads(strict):
    with serve(count, strict=strict) as http:
        answer = http.post("/actions/count", json={"number": 1, "person": {"name": "Ada"}, "kind": "Dr"})
        assert answer.json() == [1, "Dr Ada"]
        assert wrong(http.post("/actions/count", json={"number": 1})) == [("missing", ["body", "person"])]
        assert wrong(http.post("/actions/count")) == [("missing", ["body", "number"])]
        assert body_fields(http, "/actions/count") == ("application/json", {"number", "person", "kind"})


def test_a_dependencys_body_needs_a_method_with_one():
    @action(triggers=WEB_GET)
    async def ask(number: int, text: Annotated[str, Depends(whole)]) -> list:
        return [number, text]

    with pytest.raises(ConfigError, match=r"action 'ask' \(.*\): parameter 'person' comes from the body; .*WEB_POST"):
        create_app(actions=[ask], settings=Settings(env="dev"))


# ------------------------------------------------------------------------------- the address, read by dependencies


async def owner(owner_id: int, limit: Annotated[int, Query(le=10)] = 5) -> str:
    return f"{owner_id} {limit}"


@action(triggers=WebTrigger("GET", "/owners/{owner_id}"))
async def owned(text: Annotated[str, Depends(owner)]) -> str:
    return text


@action(triggers=WebTrigger("GET", "/both/{owner_id}"))
async def both(owner_id: int, text: Annotated[str, Depends(owner)], limit: int = 1) -> list:
    return [owner_id, text, limit]


class Paging(BaseModel):
    skip: int = 0
    take: int = 10


async def spread(paging: Annotated[Paging, Query()]) -> Paging:
    return paging


@action(name="spread", triggers=WEB_GET)
async def shows_spread(paging: Annotated[Paging, Depends(spread)]) -> Paging:
    return paging


@pytest.mark.parametrize("strict", [False, True])
def test_the_path_and_the_query_that_a_dependency_reads(strict):
    with serve(owned, both, shows_spread, strict=strict) as http:
        assert http.get("/owners/3?limit=4").json() == "3 4"
        assert wrong(http.get("/owners/x?limit=11")) == [
            ("int_parsing", ["path", "owner_id"]),
            ("less_than_equal", ["query", "limit"]),
        ]
        assert http.get("/both/3?limit=4").json() == [3, "3 4", 4]
        for path in ("/owners/{owner_id}", "/both/{owner_id}"):
            shown = [(each["in"], each["name"]) for each in operation(http, path, "get")["parameters"]]
            assert sorted(shown) == [("path", "owner_id"), ("query", "limit")]
        assert http.get("/actions/spread?skip=2").json() == {"skip": 2, "take": 10}


class Agent(BaseModel):
    x_key: str
    x_more: list[int] = []


@action(triggers=WEB_GET)
async def headers(
    agent: Annotated[Agent, Header()], sid: Annotated[int | None, Cookie()] = None, etag: str = Header("-", alias="If-None-Match")
) -> list:  # fmt: skip
    return [agent, sid, etag]


def test_headers_and_cookies():
    with serve(headers, strict=True) as http:
        sent = [("X-Key", "k"), ("X-More", "1"), ("X-More", "2"), ("Cookie", "sid=4"), ("If-None-Match", "e")]
        assert http.get("/actions/headers", headers=sent).json() == [{"x_key": "k", "x_more": [1, 2]}, 4, "e"]
        sent = [("Cookie", "sid=x")]
        assert wrong(http.get("/actions/headers", headers=sent)) == [
            ("missing", ["header", "x-key"]),
            ("int_parsing", ["cookie", "sid"]),
        ]
        # A client's own parameters never reach what a header fills.
        assert wrong(http.get("/actions/headers?etag=forged"))[0] == ("extra_forbidden", ["query", "etag"])


# --------------------------------------------------------------------------------------------- one place for each


@action(triggers=WebTrigger("POST", "/places/{n}"))
async def places(n: int, q: Annotated[int, Query()] = 1, s: str = "-") -> list:
    return [n, q, s]


@action(triggers=WEB_POST)
async def nothing() -> None: ...


def test_a_parameter_is_read_from_one_place():
    with serve(places) as http:
        assert http.post("/places/7?q=2&n=9&s=query", json={"n": 8, "q": 3, "s": "body"}).json() == [7, 2, "body"]
        assert http.post("/places/7?s=query&n=9", json={"q": 3}).json() == [7, 1, "-"]


def test_strictness_knows_every_place():
    with serve(places, nothing, strict=True) as http:
        assert http.post("/places/7?q=2&n=9", json={"n": 8, "s": "body"}).json() == [7, 2, "body"]
        assert wrong(http.post("/places/7?s=query&zz=1")) == [
            ("extra_forbidden", ["query", "s"]),
            ("extra_forbidden", ["query", "zz"]),
        ]
        assert wrong(http.post("/places/7", json={"q": 3})) == [("extra_forbidden", ["body", "q"])]
        assert wrong(http.post("/actions/nothing", json={"a": 1})) == [("extra_forbidden", ["body", "a"])]
        assert http.post("/actions/nothing").json() is None
        many = wrong(http.post("/actions/nothing", json={str(number): number for number in range(300)}))
        assert len(many) == 100
