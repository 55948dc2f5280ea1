"""An in-memory AWS for every client that the app creates, and the Lambda handler of an app."""

import pytest

from servey import Settings, create_app
from servey.aws import build_handler, clients
from tests.aws.dispatch_app import ACTIONS, LOG, noted_lifespan
from tests.aws.fakes import FakeAws

SETTINGS = {
    "queue_url": "https://sqs.example/jobs",
    "dead_queue_url": "https://sqs.example/dead",
    "connection_table": "table",
    "websocket_endpoint": "https://sockets.example/dev",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    fake = FakeAws()
    monkeypatch.setattr(clients, "_boto3_client", fake.client)
    return fake


@pytest.fixture
def handler():
    LOG.clear()
    handler = build_handler(
        create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*"), lifespan=noted_lifespan)
    )
    yield handler
    handler.close()
