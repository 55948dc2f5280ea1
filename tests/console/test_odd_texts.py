"""Errors of any text can be followed to their jobs and changed; every change is in the audit log, also if not all can be."""

import html
import logging
import re

import pytest
from pydantic import BaseModel

from servey import WEB_POST, ActionError, Retry, Settings, action, create_app, websocket_event_channel
from servey.core.errors import Overloaded
from servey.testing import client
from tests.console.app import SECRET

BROWSER = {"Accept": "text/html"}
OWN = {**BROWSER, "Origin": "http://testserver"}
TEXTS = {
    "lines": "\n  No such street:\r\n\tnorth\nsouth",
    "control": "red \x1b[31m and \0 nothing",
    "markup": "<img src=x onerror=alert(1)>\"'&amp; %2F+#",
    "long": "no " * 10_000,
    "letters": "Straße \U0001f600 日本",
}


@action(triggers=WEB_POST, retry=Retry(max_tries=1))
async def fail(kind: str) -> None:
    """Fail with a text."""
    raise ActionError(502, "carrier", TEXTS[kind])


class Moved(BaseModel):
    """An event whose examples have names, as in OpenAPI."""

    model_config = {"json_schema_extra": {"examples": {"first": {"value": {"parcel": 1}}}}}
    parcel: int


moved = websocket_event_channel("moved", Moved)


@pytest.fixture
def made():
    return create_app(actions=[fail], channels=[moved], settings=Settings(env="dev", jwt_secret_key=SECRET))


@pytest.fixture
def http(made):
    with client(made) as http:
        yield http


def failed(http, kind: str) -> str:
    """The id of a job that has failed with a text."""
    place = http.post("/actions/fail", json={"kind": kind}, headers={"Prefer": "respond-async"}).headers["location"]
    for _ in range(1000):
        if http.get(place).json()["state"] == "failed":
            return place.rpartition("/")[2]
    raise AssertionError("the job did not end")


def shown(page: str, pattern: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(pattern, page)]


@pytest.mark.parametrize("kind", TEXTS)
def test_an_error_leads_to_its_jobs_and_all_of_them_can_be_changed(http, kind):
    job, other = failed(http, kind), failed(http, "letters" if kind != "letters" else "lines")
    links = shown(http.get("/_servey/jobs", headers=BROWSER).text, r'<a href="([^"]*state=given[^"]*q=[^"]*)"')
    assert max(map(len, links)) < 2000  # proxies refuse longer lines
    pages = [http.get(each, headers=BROWSER).text for each in links]
    page = next(each for each in pages if f'value="{job}"' in each)
    assert f'value="{other}"' not in page
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page[page.index('id="changes"') :])
    # A browser changes the line ends of what a form sends, and has no zeros.
    filters = {name: re.sub(r"\r\n|\r|\n", "\r\n", html.unescape(each)).replace("\0", "�") for name, each in found}
    answer = http.post("/_servey/jobs", data={**filters, "change": "drop", "all": "1"}, headers=OWN)
    assert "1 job dropped." in answer.text
    left = http.get("/_servey/jobs", headers=BROWSER).text
    assert (job in left, other in left) == (False, True)


def test_what_was_changed_before_the_queue_was_lost_is_in_the_audit_log(made, http, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "servey.audit")
    jobs = [failed(http, "lines") for _ in range(3)]
    queue = made.runtime.queue
    drop = queue.drop

    async def lost(job_id: str) -> bool:
        if job_id == jobs[2]:
            raise Overloaded("The queue does not answer")
        return await drop(job_id)

    monkeypatch.setattr(queue, "drop", lost)
    answer = http.post("/_servey/jobs", data={"change": "drop", "id": jobs}, headers=OWN)
    assert answer.status_code == 503
    lines = [each for each in caplog.records if each.name == "servey.audit"]
    assert [(each.job, each.message) for each in lines] == [(each, "console: drop of a job") for each in jobs[:2]]


def test_examples_with_names_do_not_break_the_page_of_a_channel(http):
    page = http.get("/_servey/channels/moved", headers=BROWSER)
    assert (page.status_code, "&#34;parcel&#34;: 1" in page.text) == (200, True)
