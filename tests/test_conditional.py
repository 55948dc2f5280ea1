"""What HTTP is told of a result's freshness, and what conditional requests come to: RFC 9110 and RFC 9111, case by case."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypedDict

import pytest
from fastapi import Depends, Response
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
    WebTrigger,
    action,
    create_app,
)
from servey.cache import CacheHeader, cache_header, http_date, parse_http_date, precondition, strong_etag
from servey.testing import client
from tests.serving import run

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
UPDATED = datetime(2026, 5, 1, 8, 30, 15, tzinfo=UTC)
SAME = "Fri, 01 May 2026 08:30:15 GMT"
EARLIER = "Fri, 01 May 2026 08:30:14 GMT"
LATER = "Fri, 01 May 2026 08:30:16 GMT"
TAG = '"1f2e"'

# What a request says, and what comes of it where the result has the tag "1f2e" and was changed at SAME.
TABLE: list[tuple[dict[str, str], str]] = [
    ({}, "met"),
    # If-None-Match, RFC 9110 section 13.1.2: weak comparison.
    ({"if-none-match": '"1f2e"'}, "not modified"),
    ({"if-none-match": 'W/"1f2e"'}, "not modified"),
    ({"if-none-match": '"other"'}, "met"),
    ({"if-none-match": 'W/"other"'}, "met"),
    ({"if-none-match": "*"}, "not modified"),
    ({"if-none-match": "  * "}, "not modified"),
    ({"if-none-match": '"a", "1f2e"'}, "not modified"),
    ({"if-none-match": '"a","1f2e","b"'}, "not modified"),
    ({"if-none-match": '"a" , W/"1f2e"'}, "not modified"),
    ({"if-none-match": ',, "1f2e" ,'}, "not modified"),
    ({"if-none-match": '\t"1f2e"\t'}, "not modified"),
    ({"if-none-match": '"a", "b"'}, "met"),
    ({"if-none-match": '""'}, "met"),
    ({"if-none-match": '"1F2E"'}, "met"),  # octets, so case counts
    ({"if-none-match": 'w/"1f2e"'}, "met"),  # W is upper case
    ({"if-none-match": "1f2e"}, "met"),
    ({"if-none-match": '"1f2e'}, "met"),
    ({"if-none-match": '1f2e"'}, "met"),
    ({"if-none-match": "'1f2e'"}, "met"),
    ({"if-none-match": '"1f2e" x'}, "met"),
    ({"if-none-match": 'garbage, "1f2e"'}, "not modified"),
    ({"if-none-match": '"a,b", "1f2e"'}, "not modified"),  # a tag may hold a comma
    ({"if-none-match": '*, "a"'}, "met"),  # a star stands alone
    ({"if-none-match": ""}, "met"),
    ({"if-none-match": '"' + "x" * 10_000 + '"'}, "met"),
    ({"if-none-match": ", ".join(f'"{n}"' for n in range(500)) + ', "1f2e"'}, "not modified"),
    # If-Modified-Since, section 13.1.3; the three forms of a date, section 5.6.7.
    ({"if-modified-since": SAME}, "not modified"),
    ({"if-modified-since": LATER}, "not modified"),
    ({"if-modified-since": EARLIER}, "met"),
    ({"if-modified-since": "Friday, 01-May-26 08:30:15 GMT"}, "not modified"),
    ({"if-modified-since": "Fri May  1 08:30:15 2026"}, "not modified"),
    ({"if-modified-since": "Friday, 01-May-94 08:30:15 GMT"}, "met"),  # 1994, not 2094
    ({"if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, "met"),
    ({"if-modified-since": "Mon, 01 Jun 2026 12:00:00 GMT"}, "not modified"),  # now
    ({"if-modified-since": "Fri, 31 Dec 2027 23:59:59 GMT"}, "not modified"),  # a clock that is ahead
    ({"if-modified-since": "Fri, 31 Dec 9999 23:59:59 GMT"}, "met"),
    ({"if-modified-since": "2026-05-01T08:30:15Z"}, "met"),
    ({"if-modified-since": "Fri, 01 May 2026 08:30:15 CET"}, "met"),
    ({"if-modified-since": "Fri, 01 May 2026 08:30:15 +0000"}, "met"),
    ({"if-modified-since": "Fri, 01 May 2026 08:30:15"}, "met"),
    ({"if-modified-since": "Fri, 31 Feb 2026 08:30:15 GMT"}, "met"),
    ({"if-modified-since": "Fri, 01 May 2026 25:30:15 GMT"}, "met"),
    ({"if-modified-since": "Fri, 1 May 2026 08:30:15 GMT"}, "met"),
    ({"if-modified-since": "fri, 01 may 2026 08:30:15 gmt"}, "met"),
    ({"if-modified-since": "1777624215"}, "met"),
    ({"if-modified-since": "garbage"}, "met"),
    ({"if-modified-since": ""}, "met"),
    ({"if-modified-since": f"{SAME}, {SAME}"}, "met"),
    # If-None-Match wins over If-Modified-Since, garbage or not.
    ({"if-none-match": '"other"', "if-modified-since": SAME}, "met"),
    ({"if-none-match": '"1f2e"', "if-modified-since": EARLIER}, "not modified"),
    ({"if-none-match": "garbage", "if-modified-since": SAME}, "met"),
    # If-Match, section 13.1.1: strong comparison; it comes first.
    ({"if-match": '"1f2e"'}, "met"),
    ({"if-match": "*"}, "met"),
    ({"if-match": '"a", "1f2e"'}, "met"),
    ({"if-match": 'W/"1f2e"'}, "failed"),
    ({"if-match": '"other"'}, "failed"),
    ({"if-match": '"1f2e"', "if-none-match": '"1f2e"'}, "not modified"),
    ({"if-match": '"other"', "if-none-match": '"1f2e"'}, "failed"),
    # If-Unmodified-Since, section 13.1.4; If-Match wins over it.
    ({"if-unmodified-since": SAME}, "met"),
    ({"if-unmodified-since": EARLIER}, "failed"),
    ({"if-unmodified-since": "garbage"}, "met"),
    ({"if-match": '"1f2e"', "if-unmodified-since": EARLIER}, "met"),
    ({"if-unmodified-since": SAME, "if-modified-since": SAME}, "not modified"),
]  # fmt: skip
STATUS = {"met": 200, "not modified": 304, "failed": 412}


@pytest.mark.parametrize(("request_fields", "expected"), TABLE, ids=lambda each: str(each)[:60])
def test_the_table_of_conditions(request_fields, expected):
    header = CacheHeader("private, no-cache", True, TAG, UPDATED)
    assert precondition(header, request_fields, now=NOW.timestamp()) == expected


def test_without_a_date_nothing_is_asked_of_it():
    header = CacheHeader("private, no-cache", True, TAG)
    for name in ("if-modified-since", "if-unmodified-since"):
        assert precondition(header, {name: EARLIER}, now=NOW.timestamp()) == "met"


# ------------------------------------------------------------------------------------------------- over HTTP, as it is


@dataclass
class Article:
    title: str
    updated_at: datetime | None


ARTICLE = Article("A", UPDATED)
BODY = b'{"title":"A","updated_at":"2026-05-01T08:30:15Z"}'
ETAG = strong_etag(BODY)


@action(triggers=(WEB_GET, WebTrigger("POST", "/actions/article")), cache_control=TimestampCacheControl())
async def article() -> Article:
    return ARTICLE


@pytest.fixture(scope="module")
def articles():
    with client(create_app(actions=[article], settings=Settings(env="dev"))) as http:
        yield http


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("request_fields", "expected"), TABLE, ids=lambda each: str(each)[:60])
def test_the_same_table_over_http(articles, method, request_fields, expected):
    said = {name: value.replace("1f2e", ETAG.strip('"')) for name, value in request_fields.items()}
    said = {name: value.replace("1F2E", ETAG.strip('"').upper()) for name, value in said.items()}
    answer = articles.request(method, "/actions/article", headers=said)
    assert answer.status_code == STATUS[expected]
    if expected == "failed":
        assert (answer.headers["cache-control"], "etag" in answer.headers) == ("no-store", False)
        return
    assert answer.content == (BODY if method == "GET" and expected == "met" else b"")
    assert (answer.headers["etag"], answer.headers["last-modified"]) == (ETAG, SAME)
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("private, no-cache", "Authorization")
    assert "x-request-id" in answer.headers
    assert ("content-type" in answer.headers) == ("content-length" in answer.headers) == (expected == "met")


def test_several_lines_of_one_field_are_one_list(articles):
    lines = [("If-None-Match", '"a"'), ("If-None-Match", ETAG)]
    assert articles.get("/actions/article", headers=lines).status_code == 304


def test_a_post_has_no_validators_and_asks_no_conditions(articles):
    for said in (
        {},
        {"If-None-Match": ETAG},
        {"If-None-Match": "*"},
        {"If-Match": '"x"'},
        {"If-Modified-Since": LATER},
    ):
        answer = articles.post("/actions/article", headers=said)
        assert (answer.status_code, answer.content) == (200, BODY)
        assert (answer.headers["cache-control"], answer.headers["vary"]) == ("private, no-cache", "Authorization")
        assert not {"etag", "last-modified"} & set(answer.headers)


# --------------------------------------------------------------------------------------------- what each control says


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
    with pytest.raises(ConfigError, match="give a number of seconds above 0"):
        TtlCacheControl(ttl)


def test_a_strong_tag_is_the_same_in_every_process():
    program = "from servey.cache import strong_etag; print(strong_etag(b'some bytes'))"
    found = {run("-c", program, PYTHONHASHSEED=seed).stdout.strip() for seed in ("1", "2")}
    assert found == {strong_etag(b"some bytes")}


# ---------------------------------------------------------------------------------------------- answers of each kind


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
