"""The folder of the workers' project."""

import pytest

from tests.jobs.redis.project import ACTIONS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return tmp_path
