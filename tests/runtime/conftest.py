"""The project that the servers run."""

import pytest

from tests.runtime.served import ACTIONS


@pytest.fixture
def project(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return tmp_path
