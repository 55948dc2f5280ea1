"""Cached results over HTTP, and what the operator learns."""

import time
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Settings,
    TtlCacheControl,
    action,
    create_app,
)
from servey.testing import client, token_for
from tests.caching.results_app import PUBLIC, RUNS, double, mine

pytestmark = pytest.mark.anyio


def test_over_http_a_kept_result_says_what_is_left():
    @action(triggers=(WEB_GET, WEB_POST), cache_control=TtlCacheControl(30))
    def now() -> datetime:
        RUNS["now"] += 1
        return datetime.now()

    app = create_app(actions=[now], settings=Settings(env="dev"))
    with client(app) as http:
        first = http.get("/actions/now")
        assert first.headers["cache-control"] == "private, max-age=30"
        with pytest.MonkeyPatch.context() as patch:
            real = time.time
            patch.setattr(time, "time", lambda: real() + 12.5)
            second = http.get("/actions/now")
            assert second.headers["cache-control"] == "private, max-age=17"
            assert second.content == first.content
            same = http.get("/actions/now", headers={"If-None-Match": first.headers["etag"]})
            assert (same.status_code, same.content, same.headers["cache-control"]) == (304, b"", "private, max-age=17")
            assert http.head("/actions/now").headers["etag"] == first.headers["etag"]
            posted = http.post("/actions/now")
            assert (posted.content, posted.headers["cache-control"]) == (first.content, "private, max-age=17")
        other = http.get("/actions/now", headers={"Authorization": f"Bearer {token_for(app, Authorization('ada'))}"})
        assert other.content != first.content
        bad = [http.get("/actions/now", headers={"Authorization": f"Bearer {each}"}).content for each in ("a", "b")]
        assert bad[0] == bad[1] != first.content
    assert RUNS["now"] == 3


def test_a_request_can_not_go_around_the_cache():
    with client(create_app(actions=[double], settings=Settings(env="dev"))) as http:
        for said in ({}, {"Cache-Control": "no-cache"}, {"Cache-Control": "no-store"}, {"Pragma": "no-cache"}):
            assert http.get("/actions/double?n=5&x=1", headers=said).json() == 10
        for same in ("n=5&by=2", "by=2&n=5", "n=4&n=5", "n=%35", "n=5&unknown=1"):
            assert http.get(f"/actions/double?{same}", headers={"X-Forwarded-Host": "evil.example"}).json() == 10
    assert RUNS == {(5, 2): 1}


def test_the_operator_is_told_what_is_not_kept(caplog):
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def stream() -> AsyncIterator[int]:
        yield 1

    from servey.exposure import exposure_of

    app = create_app(actions=[stream, double, mine], settings=Settings(env="dev"))
    shown = {action.name: exposure_of(app.runtime, action) for action in app.runtime.catalog}
    assert shown["stream"].cache == "60 s, public"
    assert shown["stream"].absences == ("not kept on the server: it streams",)
    assert (shown["double"].cache, shown["mine"].cache) == ("60 s, public, server", "60 s, private, server")
