"""The console's pages of jobs, schedules, cache and settings; who may see them, and who may change what."""

import importlib.util
import logging
import re

import pytest

from servey import WEB_POST, ActionError, Authorization, Settings, action, create_app, webhook_event_channel
from servey.console.page import PATH
from servey.testing import client, token_for
from tests.console.app import HOSTILE, SECRET, app, broken
from tests.jobs.test_webhooks import OK, receiver

BROWSER = {"Accept": "text/html"}
OWN = {**BROWSER, "Origin": "http://testserver"}
PAGES = [
    "/_servey",
    "/_servey/actions/deliver",
    "/_servey/calls",
    "/_servey/jobs",
    "/_servey/schedules",
    "/_servey/channels",
    "/_servey/channels/parcels",
    "/_servey/webhooks",
    "/_servey/cache",
    "/_servey/cache/weigh",
    "/_servey/settings",
]


@pytest.fixture
def http():
    broken["is"] = True
    with client(app()) as made:
        yield made


def enqueue(http, number: int, password: str = "hunter2", path: str = "/actions/deliver") -> str:
    """Enqueue a delivery, which fails, and wait until it has."""
    headers = {"Prefer": "respond-async"}
    answer = http.post(path, json={"number": number, "password": password}, headers=headers)
    assert answer.status_code == 202
    place = answer.headers["location"]
    for _ in range(1000):
        if http.get(place).json()["state"] not in ("queued", "running"):
            return place.rpartition("/")[2]
    raise AssertionError("the job did not end")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_a_page(http, path):
    page = http.get(path, headers=BROWSER)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)[1]
    assert re.findall(r"<script[^>]*>", page.text) == [f'<script src="/_servey/console.js" nonce="{nonce}">']
    assert "Parcels <small>3.2.1</small>" in page.text
    assert page.headers["cache-control"] == "no-store"


# ----------------------------------------------------------------------------------------------------------------- jobs


def test_jobs_are_found_and_explained(http):
    ids = [enqueue(http, number) for number in range(5)]
    page = http.get("/_servey/jobs", headers=BROWSER).text
    assert all(each in page for each in ids)
    assert HOSTILE not in page
    assert "&lt;script&gt;alert" in page
    found = http.get("/_servey/jobs?q=street", headers=BROWSER).text
    assert [each in found for each in ids] == [True, False, True, False, True]
    assert ids[0] in http.get("/_servey/jobs?state=failed&action=deliver", headers=BROWSER).text
    assert "No job fits" in http.get("/_servey/jobs?state=queued", headers=BROWSER).text
    for odd in ("page=99", "page=-1", "page=x", "page=²", "changed=x&change=y", "state=<b>"):
        assert http.get(f"/_servey/jobs?{odd}", headers=BROWSER).status_code == 200


def test_a_job_shows_its_parameters_without_secrets(http):
    job_id = enqueue(http, 7)
    page = http.get(f"/_servey/jobs/{job_id}", headers=BROWSER).text
    assert "&#34;number&#34;: 7" in page
    assert "hunter2" not in page
    assert HOSTILE not in page
    assert http.get("/_servey/jobs/none", headers=BROWSER).status_code == 404


def test_all_matching_jobs_are_retried_and_others_dropped(http, caplog):
    caplog.set_level(logging.INFO, "servey.audit")
    ids = [enqueue(http, number) for number in range(6)]
    broken["is"] = False
    done = http.post(
        "/_servey/jobs", data={"change": "retry", "all": "1", "q": "carrier"}, headers=OWN, follow_redirects=False
    )
    assert (done.status_code, done.headers["location"]) == (303, "/_servey/jobs?q=carrier&change=retry&changed=3")
    assert "3 jobs enqueued again" in http.get(done.headers["location"], headers=BROWSER).text
    dropped = http.post("/_servey/jobs", data={"change": "drop", "id": [ids[0], ids[2]]}, headers=OWN)
    assert "2 jobs dropped" in dropped.text
    left = http.get("/_servey/jobs", headers=BROWSER).text
    assert [each in left for each in (ids[0], ids[2], ids[4])] == [False, False, True]
    assert len([line for line in caplog.records if line.name == "servey.audit"]) == 5
    assert http.post("/_servey/jobs", data={"change": "explode"}, headers=OWN).status_code == 400


def test_a_queue_is_paused_and_a_waiting_job_cancelled(http):
    enqueue(http, 1)
    paused = http.post("/_servey/queues", data={"name": "default", "change": "pause"}, headers=OWN)
    assert ("paused" in paused.text, "Resume" in paused.text) == (True, True)
    headers = {"Prefer": "respond-async"}
    job_id = http.post("/actions/deliver", json={"number": 3}, headers=headers).headers["location"].rpartition("/")[2]
    assert job_id in http.get("/_servey/jobs?state=queued&queue=default", headers=BROWSER).text
    done = http.post("/_servey/jobs", data={"change": "cancel", "id": job_id}, headers=OWN)
    assert "1 job cancelled" in done.text
    assert "cancelled" in http.get(f"/_servey/jobs/{job_id}", headers=BROWSER).text
    resumed = http.post("/_servey/queues", data={"name": "default", "change": "resume"}, headers=OWN)
    assert "Pause" in resumed.text
    assert http.post("/_servey/queues", data={"name": "none", "change": "pause"}, headers=OWN).status_code == 404


def test_errors_of_the_apps_own_shape_are_shown():
    @action(triggers=WEB_POST)
    async def refuse(number: int) -> None:
        raise ActionError(409, "conflict", "It is <there>")

    settings = Settings(env="dev", jwt_secret_key=SECRET)
    with client(
        create_app(actions=[refuse], errors=lambda facts: {"message": facts.detail}, settings=settings)
    ) as http:
        job_id = enqueue(http, 1, path="/actions/refuse")
        for path in (f"/_servey/jobs/{job_id}", "/_servey/jobs"):
            page = http.get(path, headers=BROWSER)
            assert (page.status_code, "It is &lt;there&gt;" in page.text) == (200, True), path


# ----------------------------------------------------------------------------------------- schedules, cache, settings


def test_an_unknown_change_changes_nothing(http):
    job_id = enqueue(http, 1)
    for path, name in (("/_servey/schedules", "tidy_up"), ("/_servey/queues", "default")):
        assert http.post(path, data={"name": name, "change": "stop"}, headers=OWN).status_code == 400
    # The page of webhooks sends deliveries again, and no other job.
    assert "was not sent again" in http.post("/_servey/webhooks", data={"id": job_id}, headers=OWN).text
    assert ">tidy_up</a>" not in http.get("/_servey/jobs?state=done", headers=BROWSER).text


def test_a_schedule_runs_now(http):
    assert "cron 0 3 * * *" in http.get("/_servey/schedules", headers=BROWSER).text
    job = http.post("/_servey/schedules", data={"name": "tidy_up"}, headers=OWN)
    assert (job.status_code, "tidy_up" in job.text) == (200, True)
    assert http.post("/_servey/schedules", data={"name": "deliver"}, headers=OWN).status_code == 404


def test_cached_results_are_counted_and_invalidated(http):
    for _ in range(4):
        http.get("/actions/weigh")
    page = http.get("/_servey/cache", headers=BROWSER).text
    assert "75 %" in page
    assert "were invalidated" in http.post("/_servey/cache", data={"name": "weigh"}, headers=OWN).text
    assert http.post("/_servey/cache", data={"name": "deliver"}, headers=OWN).status_code == 404
    other = OWN | {"Content-Type": "multipart/form-data; boundary=x; charset=punycode"}
    assert http.post("/_servey/cache", content=b"--x--", headers=other).status_code == 415


def test_stored_results_are_listed_and_invalidated_one_by_one(http, caplog):
    caplog.set_level(logging.INFO, "servey.audit")
    for parcel in (1, 2, 2, 3):
        http.get(f"/actions/weigh?parcel={parcel}")
    assert 'data-label="Stored">3</td>' in http.get("/_servey/cache", headers=BROWSER).text
    page = http.get("/_servey/cache/weigh", headers=BROWSER).text
    keys = re.findall(r'name="key" value="(\w+)"', page)
    assert (len(keys), page.count(">valid<"), "1 hit, 3 misses" in page) == (3, 3, True)

    def invalidate(**data: str) -> str:
        return http.post("/_servey/cache", data={"name": "weigh", **data}, headers=OWN).text

    page = invalidate(key=keys[0])  # the latest
    assert ("The result was invalidated." in page, page.count(">valid<"), keys[0] in page) == (True, 2, False)
    assert "There was no such result" in invalidate(key=keys[0])
    assert http.get("/actions/weigh?parcel=3").json() == 300
    page = http.get("/_servey/cache/weigh", headers=BROWSER).text
    assert ("1 hit, 4 misses" in page, page.count(">valid<")) == (True, 3)
    invalidate()
    page = http.get("/_servey/cache/weigh", headers=BROWSER).text
    assert (page.count(">valid<"), page.count(">invalidated<")) == (0, 3)
    lines = [each.message for each in caplog.records if each.name == "servey.audit"]
    assert lines == [
        f"console: invalidation of the result {keys[0][:12]} of weigh",
        "console: invalidation of the results of weigh",
    ]
    assert http.get("/_servey/cache/deliver", headers=BROWSER).status_code == 404


def test_stored_results_in_redis_are_listed_within_a_bound(redis, monkeypatch):
    monkeypatch.setattr("servey.caching.entries.MOST_LOOKED_AT", 1)
    with client(app(redis_url=redis.url, namespace="console-listing")) as http:
        http.get("/actions/weigh?parcel=1")
        page = http.get("/_servey/cache", headers=BROWSER).text
        key = re.search(r'name="key" value="(\w+)"', http.get("/_servey/cache/weigh", headers=BROWSER).text)[1]
        assert ('data-label="Stored">1</td>' in page, "in Redis" in page) == (True, True)
        done = http.post("/_servey/cache", data={"name": "weigh", "key": key}, headers=OWN).text
        assert "No result of this action is stored" in done


def test_settings_show_no_secret(http):
    page = http.get("/_servey/settings", headers=BROWSER).text
    assert "SERVEY_REDIS_URL" in page
    assert SECRET not in page
    assert "open sesame" not in page


# ------------------------------------------------------------------------------------------------------- who may do what


@pytest.mark.parametrize("origin", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_another_site_changes_nothing(http, origin):
    job_id = enqueue(http, 1)
    for path, data in (
        ("/_servey/jobs", {"change": "drop", "id": job_id}),
        ("/_servey/schedules", {"name": "tidy_up"}),
        ("/_servey/cache", {"name": "weigh"}),
    ):
        assert http.post(path, data=data, headers={**BROWSER, **origin}).status_code == 403
    assert http.get(f"/_servey/jobs/{job_id}", headers=BROWSER).status_code == 200


@pytest.mark.parametrize("token", [{}, {"Authorization": "Bearer anything"}])
def test_in_development_no_other_site_reads_or_changes_anything_whatever_cors_allows(token):
    with client(app(cors_allowed_origins=("*",))) as http:
        for method, path in console_routes():
            answer = http.request(method, path, headers={"Origin": "https://evil.example", **token})
            assert (answer.status_code, "evil" in answer.text) == (403, False), (method, path)
            if method == "POST":
                assert http.request(method, path, headers=token).status_code == 403
        assert http.get("/_servey/calls", headers={**token, **BROWSER}).status_code == 200
        assert http.get("/_servey/calls", headers={**token, **OWN}).status_code == 200


def console_routes() -> list[tuple[str, str]]:
    """The method and the path of every route of the console, as an app in development has them."""
    routes = [each for each in app().routes if getattr(each, "name", "") == "serve" and each.path.startswith(PATH)]
    found = [(method, re.sub(r"\{\w+\}", "none", each.path)) for each in routes for method in sorted(each.methods)]
    assert {("POST", "/_servey/token"), ("GET", "/_servey/calls/trace"), ("GET", "/_servey/webhooks")} <= set(found)
    return found


def test_production_has_none_of_it():
    made = app(env="prod", docs=True)
    operator = token_for(made, Authorization("grace", frozenset({"servey:operate", "root"})))
    with client(made) as http:
        for caller in ({}, {"Authorization": f"Bearer {operator}"}):
            for method, path in [*console_routes(), ("GET", f"{PATH}/console.js")]:
                data = {"change": "retry", "subject": "ada"} if method == "POST" else None
                answer = http.request(method, path, data=data, headers={**OWN, **caller})
                assert answer.status_code == 404, (method, path)


def test_every_route_of_it_is_for_operators_only():
    made = app(env="prod", console=True)
    tokens = {
        scope: {"Authorization": f"Bearer {token_for(made, Authorization('ada', frozenset({scope})))}"}
        for scope in ("read", "servey:operate")
    }
    cookie = {"Cookie": f"servey_token={tokens['servey:operate']['Authorization'].removeprefix('Bearer ')}"}
    with client(made) as http:
        for method, path in console_routes():
            assert http.request(method, path, headers=OWN).status_code == 401, (method, path)
            assert http.request(method, path, headers={**OWN, **tokens["read"]}).status_code == 403, (method, path)
            if method == "POST":
                for origin in ({}, {"Origin": "https://evil.example"}):
                    answer = http.request(method, path, headers={**BROWSER, **cookie, **origin})
                    assert answer.status_code == 403, (method, path, origin)


def test_production_shows_it_to_operators():
    made = app(env="prod", console=True)
    with client(made) as http:
        for path in (*PAGES, "/_servey/jobs/live"):
            assert http.get(path).status_code == 401, path
            login = http.get(path, headers=BROWSER)
            assert (login.status_code, 'name="password"' in login.text) == (401, True)
            assert "deliver" not in login.text
        reader = {"Authorization": f"Bearer {token_for(made, Authorization('ada', frozenset({'read'})))}"}
        operator = token_for(made, Authorization("grace", frozenset({"servey:operate"})))
        for path in PAGES:
            assert http.get(path, headers=reader).status_code == 403, path
            assert http.get(path, headers={"Authorization": f"Bearer {operator}"}).status_code == 200, path
        cookie = {"Cookie": f"servey_token={operator}"}
        assert http.get("/_servey", headers={**cookie, **BROWSER}).status_code == 200
        change = {"change": "drop", "id": "none"}
        assert http.post("/_servey/jobs", data=change, headers=cookie).status_code == 403
        done = http.post("/_servey/jobs", data=change, headers={**cookie, **OWN}, follow_redirects=False)
        assert (done.status_code, done.headers["location"]) == (303, "/_servey/jobs?change=drop&changed=0")
        # The links of the console are for operators only.
        assert "/_servey" not in http.get("/nowhere", headers=BROWSER).text


def test_without_jinja_it_says_what_it_needs(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "jinja2" else found(name, *rest)
    )
    with client(app()) as http:
        page = http.get("/_servey", headers=BROWSER)
    assert (page.status_code, "jinja2" in page.text) == (503, True)


def test_an_action_shows_how_to_call_it(http):
    page = http.get("/_servey/actions/deliver", headers=BROWSER).text
    assert "deliver(number: integer, password: string (password)" in page
    assert "compiled" in page
    assert "/docs#/default/deliver" in page
    assert "curl -X POST http://testserver/actions/deliver" in page
    assert "servey call deliver number=1" in page
    assert "/graphiql?query=mutation" in page
    assert http.get("/_servey/actions/nothing", headers=BROWSER).status_code == 404


# -------------------------------------------------------------------------------------------- schedules and webhooks


def test_a_schedule_is_paused_and_resumed(http):
    def change(what: str):
        return http.post("/_servey/schedules", data={"name": "tidy_up", "change": what}, headers=OWN)

    assert "Resume tidy_up" not in http.get("/_servey/schedules", headers=BROWSER).text
    paused = change("pause")
    assert ("Resume tidy_up" in paused.text, ">paused<" in paused.text) == (True, True)
    assert "Resume tidy_up" not in change("resume").text
    other = http.post("/_servey/schedules", data={"name": "deliver", "change": "pause"}, headers=OWN)
    assert other.status_code == 404


def test_a_failed_delivery_is_explained_and_sent_again():
    refused = (400, {}, b"no such <b>parcel</b>")
    with receiver(refused, OK) as hook:
        parcels = webhook_event_channel("parcels", hook.url + "?token=hunter2", int, secret=b"s" * 32)

        @action(triggers=WEB_POST)
        async def pack(parcel: int) -> int:
            await parcels.publish(parcel)
            return parcel

        made = create_app(
            actions=[pack], channels=[parcels], settings=Settings(env="dev", jwt_secret_key=SECRET, docs=True)
        )
        with client(made) as http:
            page = http.get("/_servey/webhooks", headers=BROWSER).text
            assert ("No event was published" in page, "signed" in page, "hunter2" in page) == (True, True, False)
            http.post("/actions/pack", json={"parcel": 7})

            def shown(text: str) -> str:
                for _ in range(1000):
                    page = http.get("/_servey/webhooks", headers=BROWSER).text
                    if text in page:
                        return page
                raise AssertionError(page)

            page = shown("the receiver answered 400: no such &lt;b&gt;parcel&lt;/b&gt;")
            job_id = re.search(r'name="id" value="([^"]+)"', page)[1]
            assert http.post("/_servey/webhooks", data={"id": job_id}, headers=BROWSER).status_code == 403
            assert "The event is sent again" in http.post("/_servey/webhooks", data={"id": job_id}, headers=OWN).text
            assert "Send again" not in shown(">delivered<")
            assert "was not sent again" in http.post("/_servey/webhooks", data={"id": job_id}, headers=OWN).text
        assert [body for _, _, body in hook.got] == [b"7", b"7"]


def test_jobs_show_what_workers_run_and_how_much_ended(http):
    for number in range(3):
        enqueue(http, number)
    page = http.get("/_servey/jobs", headers=BROWSER).text
    assert "0 done, 3 failed" in page
    assert '<span class="badge">idle</span>' in page
    assert "<li><span>1</span> <b>3</b></li>" in page


def test_development_has_tokens_of_any_user(http):
    def token(**headers: str):
        data = {"subject": "ada", "scopes": "parcels:read"}
        return http.post("/_servey/token", data=data, headers={"Accept": "application/json", **headers})

    assert token().status_code == 403  # another site
    made = token(Origin="http://testserver").json()["token"]
    assert http.get("/actions/whose", headers={"Authorization": f"Bearer {made}"}).json() == "ada"
    assert http.post("/_servey/token", data={"subject": " "}, headers=OWN).status_code == 400
    production = app(env="prod", console=True)
    operator = token_for(production, Authorization("grace", frozenset({"servey:operate"})))
    with client(production) as other:
        headers = {"Authorization": f"Bearer {operator}"}
        assert other.post("/_servey/token", data={"subject": "ada"}, headers=headers).status_code == 404
        assert "As the user" not in other.get("/_servey/actions/whose", headers=headers).text
