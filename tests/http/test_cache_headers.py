"""The cache headers of results and responses."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypedDict

import pytest
from fastapi import Cookie, Depends, Header, Request, Response
from starlette.responses import HTMLResponse, StreamingResponse

from servey import (
    WEB_GET,
    WEB_POST,
    ConfigError,
    NotFound,
    SecureHashCacheControl,
    Settings,
    TimestampCacheControl,
    TtlCacheControl,
    action,
    create_app,
)
from servey.core.cache import cache_header, http_date, parse_http_date, strong_etag
from servey.testing import client
from tests.http.cache_app import NOW, SAME, UPDATED, Article
from tests.serving import run


@pytest.mark.parametrize(
    ("control", "age", "expected"),
    [
        (TtlCacheControl(30), None, "private, max-age=30"),
        (TtlCacheControl(30), 0.2, "private, max-age=29"),
        (TtlCacheControl(30), 29.9, "private, max-age=0"),
        (TtlCacheControl(30), 31, "private, max-age=0"),
        (TtlCacheControl(30), -5, "private, max-age=30"),  # made by a machine whose clock is ahead
        (TtlCacheControl(0.5), None, "private, max-age=0"),
        (TtlCacheControl(86_394, private=False), None, "public, max-age=86394"),
        (TtlCacheControl(10 * 365 * 86_400, private=False), None, "public, max-age=315360000"),
        (TtlCacheControl(float("inf")), None, "private, max-age=2147483648"),
        (TtlCacheControl(60, must_revalidate=True), None, "private, max-age=60, must-revalidate"),
        (SecureHashCacheControl(), None, "private, no-cache"),
        (SecureHashCacheControl(private=False), None, "public, no-cache"),
        (TimestampCacheControl(), None, "private, no-cache"),
    ],
)
def test_cache_control(control, age, expected):
    now = NOW.timestamp()
    header = cache_header(control, None, b"x", now=now, made_at=None if age is None else now - age)
    assert (header.cache_control, header.etag) == (expected, strong_etag(b"x"))
    assert header.last_modified is None
    if isinstance(control, TtlCacheControl):
        left = int(expected.partition("max-age=")[2].partition(",")[0])
        assert header.expires == NOW + timedelta(seconds=left)


class Row(TypedDict):
    changed: datetime


CET = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (Article("A", UPDATED), "updated_at", UPDATED),
        (Article("A", UPDATED.replace(microsecond=999_999)), "updated_at", UPDATED),
        (Article("A", UPDATED.replace(tzinfo=None)), "updated_at", UPDATED),  # taken as UTC
        (Article("A", UPDATED.astimezone(CET)), "updated_at", UPDATED),
        (Article("A", NOW + timedelta(days=1)), "updated_at", NOW),  # never later than the answer
        (Article("A", datetime.max), "updated_at", NOW),
        (Article("A", datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))), "updated_at", None),
        (Article("A", None), "updated_at", None),
        (Article("A", "yesterday"), "updated_at", None),  # type: ignore[arg-type]
        (Article("A", UPDATED), "changed", None),
        ({"changed": UPDATED}, "changed", UPDATED),
        (Row(changed=UPDATED), "changed", UPDATED),
        ([Article("A", UPDATED)], "updated_at", None),
        (None, "updated_at", None),
        (7, "updated_at", None),
    ],
)
def test_when_a_result_was_changed(value, name, expected):
    header = cache_header(TimestampCacheControl(name), value, b"x", now=NOW.timestamp())
    assert (header.last_modified, header.etag) == (expected, strong_etag(b"x"))


def test_dates_are_written_as_http_has_them():
    assert http_date(UPDATED.astimezone(CET)) == SAME
    assert parse_http_date(SAME, NOW.timestamp()) == UPDATED
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW.timestamp()).second == 59


@pytest.mark.parametrize("ttl", [0, -1, True, float("nan"), "30", None])
def test_a_ttl_is_a_number_above_0(ttl):
    with pytest.raises(ConfigError, match="use a number of seconds above 0"):
        TtlCacheControl(ttl)


def test_a_strong_tag_is_the_same_in_every_process():
    program = "from servey.core.cache import strong_etag; print(strong_etag(b'some bytes'))"
    found = {run("-c", program, PYTHONHASHSEED=seed).stdout.strip() for seed in ("1", "2")}
    assert found == {strong_etag(b"some bytes")}


def lenient_session(response: Response) -> None:
    response.set_cookie("session", "1")


def served(*actions: Any, **settings: Any) -> Any:
    return client(create_app(actions=actions, settings=Settings(env="dev", **settings)))


def test_the_headers_of_a_ttl():
    @action(triggers=WEB_GET, cache_control=TtlCacheControl(3600, private=False, server=False))
    async def told(name: str) -> str:
        if name == "nobody":
            raise NotFound()
        return name

    with served(told) as http:
        answer = http.get("/actions/told?name=x")
        assert answer.headers["cache-control"] == "public, max-age=3600"
        assert "vary" not in answer.headers
        lifetime = parsedate_to_datetime(answer.headers["expires"]) - datetime.now(UTC)
        assert timedelta(seconds=3590) < lifetime <= timedelta(seconds=3600)
        again = http.get("/actions/told?name=x", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert {name: again.headers[name] for name in ("etag", "cache-control")} == {
            name: answer.headers[name] for name in ("etag", "cache-control")
        }
        for path in ("/actions/told?name=nobody", "/actions/told", "/actions/nothing-there"):
            error = http.get(path, headers={"If-None-Match": "*"})
            assert error.status_code >= 400
            assert error.headers["cache-control"] == "no-store"
            assert not {"etag", "expires", "last-modified"} & set(error.headers)


def test_what_an_action_says_itself_stands():
    @action(triggers=WEB_GET, cache_control=SecureHashCacheControl())
    async def by_itself(response: Response) -> str:
        response.headers["Cache-Control"] = "public, max-age=5"
        return "x"

    @action(triggers=WEB_GET, cache_control=SecureHashCacheControl())
    async def with_a_tag(response: Response) -> str:
        response.headers["ETag"] = '"v7"'
        return "x"

    @action(triggers=WEB_GET)
    async def without() -> str:
        return "x"

    with served(by_itself, with_a_tag, without) as http:
        assert http.get("/actions/by-itself").headers["cache-control"] == "public, max-age=5"
        assert http.get("/actions/with-a-tag", headers={"If-None-Match": '"v7"'}).status_code == 304
        plain = http.get("/actions/without", headers={"If-None-Match": "*", "If-Match": '"x"'})
        assert plain.status_code == 200
        assert not {"cache-control", "etag", "expires", "vary"} & set(plain.headers)


def test_what_is_never_kept():
    @action(triggers=WEB_GET, cache_control=TtlCacheControl(60, server=False))
    async def logs_in(session: Annotated[None, Depends(lenient_session)]) -> str:
        return "x"

    @action(triggers=WEB_POST, cache_control=TtlCacheControl(60, server=False))
    async def creates(response: Response) -> str:
        response.status_code = 201
        return "x"

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(60, server=False))
    async def breaks() -> str:
        raise RuntimeError("secret")

    with served(logs_in, creates, breaks) as http:
        for answer in (http.get("/actions/logs-in"), http.post("/actions/creates"), http.get("/actions/breaks")):
            assert answer.headers["cache-control"] == "no-store"
            assert not {"etag", "expires"} & set(answer.headers)


def test_responses_of_ones_own():
    @action(triggers=WEB_GET, cache_control=SecureHashCacheControl(private=False))
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>Hello</p>", headers={"X-Of-Mine": "1"})

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
    async def flow() -> Response:
        return StreamingResponse(iter([b"a", b"b"]))

    with served(page, flow) as http:
        etag = http.get("/actions/page").headers["etag"]
        assert etag == strong_etag(b"<p>Hello</p>")
        again = http.get("/actions/page", headers={"If-None-Match": etag})
        assert (again.status_code, again.content, again.headers["x-of-mine"]) == (304, b"", "1")
        answer = http.get("/actions/flow", headers={"If-None-Match": "*"})
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (
            200,
            b"ab",
            "private, max-age=60",
        )


def test_a_result_that_changes_changes_its_tag():
    current = ["first"]

    @action(triggers=WEB_GET, cache_control=SecureHashCacheControl())
    async def changing() -> str:
        return current[0]

    with served(changing) as http:
        tag = http.get("/actions/changing").headers["etag"]
        assert http.get("/actions/changing", headers={"If-None-Match": tag}).status_code == 304
        current[0] = "second"
        answer = http.get("/actions/changing", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.json()) == (200, "second")
        assert answer.headers["etag"] != tag


def language(request: Request) -> str:
    return request.headers.get("accept-language", "en")


def declared(accept_language: Annotated[str, Header()] = "en") -> str:
    return accept_language


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
async def by_request(request: Request) -> str:
    return request.headers.get("accept-language", "en")


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
async def by_dependency(lang: Annotated[str, Depends(language)]) -> str:
    return lang


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
async def by_declared(lang: Annotated[str, Depends(declared)], cookie: Annotated[str, Cookie()] = "") -> str:
    return lang + cookie


@action(triggers=WEB_GET, cache_control=SecureHashCacheControl(private=False))
async def by_hash(request: Request) -> str:
    return "same"


def test_what_a_result_depends_on_is_named_or_it_is_not_stored():
    app = create_app(actions=[by_request, by_dependency, by_declared, by_hash], settings=Settings(env="dev"))
    with client(app) as http:
        for path in ("by-request", "by-dependency"):
            answers = [http.get(f"/actions/{path}", headers={"Accept-Language": each}) for each in ("de", "fr")]
            assert [each.json() for each in answers] == ["de", "fr"]
            assert answers[0].headers["cache-control"] == "private, no-store"
            assert "expires" not in answers[0].headers
        answer = http.get("/actions/by-declared")
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert {each.strip().lower() for each in answer.headers["vary"].split(",")} == {"accept-language", "cookie"}
        app.dependency_overrides[declared] = language
        assert http.get("/actions/by-declared").headers["cache-control"] == "private, no-store"
        answer = http.get("/actions/by-hash")
        assert answer.headers["cache-control"] == "private, no-store"
        again = http.get("/actions/by-hash", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-store")
