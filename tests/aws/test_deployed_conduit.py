"""Deploy the RealWorld example to an AWS emulator, with PostgreSQL; use its whole API, its events, job and schedule."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.aws.deployed import Deployed, deployed, frames_of
from tests.examples.realworld import (
    NEWS,
    Person,
    check_api,
    check_graphql_and_page,
    check_notifications,
    register,
)
from tests.postgres import postgresql
from tests.serving import ROOT, run

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

FILES = {"pyproject.toml": '[tool.servey.aws.environment]\nCONDUIT_DATABASE_URL = "${env:CONDUIT_DATABASE_URL}"\n'}


@pytest.fixture(scope="module")
def conduit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    with postgresql() as url:
        environment = {
            "CONDUIT_DATABASE_URL": url,
            "SERVEY_JWT_SECRET_KEY": "a-secret-of-at-least-32-bytes-for-tests",
            "SERVEY_AWS_STREAMING": "1",
        }
        migrated = run("-m", "alembic", "upgrade", "head", cwd=ROOT / "examples" / "conduit", timeout=60, **environment)
        assert migrated.returncode == 0, migrated.stderr
        with deployed("conduit", folder, FILES, **environment) as made:
            yield made


@pytest.fixture
def server(conduit: Deployed) -> Iterator[str]:
    with conduit.door() as url:
        yield url


def test_a_client_sees_the_same_api(server):
    check_api(f"{server}/api")
    check_graphql_and_page(server)


def test_a_job_notifies_the_followers(server):
    check_notifications(f"{server}/api")


def test_a_new_article_is_an_event(conduit, server):
    with Person(f"{server}/api") as ada, conduit.socket() as socket:
        register(ada)
        socket.send(json.dumps({"type": "Subscribe", "payload": "published"}))
        frames_of(socket, lambda frame: frame["type"] == "Subscribed")
        fields = ", ".join(f"{name}: {json.dumps(value)}" for name, value in NEWS.items())
        query = f"mutation {{ createArticle(article: {{{fields}}}) {{ article {{ slug }} }} }}"
        slug = ada.http.post(f"{server}/graphql", json={"query": query}).json()["data"]["createArticle"]["article"][
            "slug"
        ]
        event = frames_of(socket, lambda frame: frame["type"] == "Event" and frame["payload"]["slug"] == slug)
        assert event["payload"] == {"slug": slug, "title": NEWS["title"], "author": ada.name}


def test_the_schedule_runs_every_night(conduit):
    """The emulator does not wait until 3 o'clock; the event is the one that its rule sends."""
    events = conduit.aws("events")
    (rule,) = [each for each in events.list_rules()["Rules"] if "cron" in each.get("ScheduleExpression", "")]
    assert rule["ScheduleExpression"] == "cron(0 3 * * ? *)"
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    sent = target["InputTransformer"]["InputTemplate"].replace("<time>", '"2026-01-01T03:00:00Z"')
    assert conduit.invoke(json.loads(sent)) is None


def test_the_secret_is_that_of_the_deployment(conduit, server):
    assert conduit.environment["SERVEY_JWT_SECRET_KEY"] == "a-secret-of-at-least-32-bytes-for-tests"
    assert httpx.get(f"{server}/api/user", headers={"Authorization": "Token not.a.token"}).status_code == 401


def test_the_function_that_streams_has_a_url(conduit):
    """The emulator does not stream; tests/aws/test_streaming.py does, with the Runtime API."""
    configuration = conduit.aws("lambda").get_function_url_config(FunctionName="conduit-dev-stream")
    assert configuration["InvokeMode"] == "RESPONSE_STREAM"
