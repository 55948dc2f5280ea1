"""A GraphQL client."""

import pytest

from tests.graphql.graphql_client import graphql_client
from tests.graphql.http_app import ACTIONS


@pytest.fixture
def ask():
    with graphql_client(*ACTIONS) as asker:
        yield asker
