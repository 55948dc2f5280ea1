"""The app's pages, in a browser without cookies."""

import pytest

from servey.testing import client
from tests.routers.pages.pages_app import app, project


@pytest.fixture(scope="package")
def served(tmp_path_factory):
    with client(app(project(tmp_path_factory.mktemp("templates")))) as http:
        http.follow_redirects = False
        yield http


@pytest.fixture
def http(served):
    served.cookies.clear()
    return served
