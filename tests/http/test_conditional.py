"""Conditional requests: RFC 9110's preconditions, evaluated and over HTTP."""

import pytest

from servey import (
    WEB_GET,
    Settings,
    TimestampCacheControl,
    WebTrigger,
    action,
    create_app,
)
from servey.core.cache import CacheHeader, precondition, strong_etag
from servey.testing import client
from tests.http.cache_app import NOW, SAME, UPDATED, Article

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
