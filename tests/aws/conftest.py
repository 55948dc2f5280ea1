"""An in-memory AWS for every client that the app creates."""

import pytest

from servey.aws import clients
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
