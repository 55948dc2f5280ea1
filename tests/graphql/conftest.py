"""A GraphQL client, and the app of the websocket tests."""

import pytest

from servey.testing import client
from tests.graphql.graphql_client import graphql_client
from tests.graphql.http_app import ACTIONS
from tests.graphql.served import app as served_app


@pytest.fixture
def ask():
    with graphql_client(*ACTIONS) as asker:
        yield asker


@pytest.fixture
def app():
    return served_app()


@pytest.fixture
def http(app):
    with client(app) as made:
        yield made
