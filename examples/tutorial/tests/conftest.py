# tests/conftest.py
import os
import sys
import tempfile
import threading
from http.server import HTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from receiver import RECEIVED, Receiver

from servey.testing import client

webhooks = HTTPServer(("127.0.0.1", 0), Receiver)
os.environ["SERVEY_ENV"] = "dev"
OWN = f"sqlite+aiosqlite:///{tempfile.mkdtemp()}/desk.db"
os.environ["DESK_DATABASE_URL"] = os.environ.get("DESK_TEST_DATABASE_URL", OWN)
os.environ["DESK_WEBHOOK_URL"] = f"http://127.0.0.1:{webhooks.server_port}/closed"


@pytest.fixture(scope="module")
def http():
    from app import servey_app

    with client(servey_app) as http:
        yield http


@pytest.fixture(scope="session", autouse=True)
def receiver():
    """Receives webhooks during the tests."""
    threading.Thread(target=webhooks.serve_forever, daemon=True).start()
    yield
    webhooks.shutdown()
    webhooks.server_close()


@pytest.fixture
def received():
    """What the webhook has received."""
    return RECEIVED
