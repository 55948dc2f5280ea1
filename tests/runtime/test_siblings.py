"""How many processes a server runs, as its command line tells."""

import sys

import pytest

from servey.runtime.siblings import process_count


@pytest.mark.parametrize(
    ("line", "variables", "count"),
    [
        ("/bin/uvicorn app:app --workers 4", {}, 4),
        ("/lib/uvicorn/__main__.py app:app --workers=3", {}, 3),
        ("/bin/uvicorn app:app", {"WEB_CONCURRENCY": "2"}, 2),
        ("/bin/uvicorn app:app --workers 1", {"WEB_CONCURRENCY": "2"}, 1),
        ("/bin/uvicorn app:app --reload", {}, 1),
        ("/bin/gunicorn -w 4 app:app", {}, 4),
        ("/bin/gunicorn -w4 app:app", {}, 4),
        ("/bin/gunicorn app:app", {"GUNICORN_CMD_ARGS": "--bind=x --workers=5"}, 5),
        ("/bin/hypercorn app:app -w 2", {}, 2),
        ("/bin/granian --interface asgi app:app --workers 6", {}, 6),
        ("/bin/granian app:app", {"GRANIAN_WORKERS": "2"}, 2),
        ("/bin/pytest -w 4", {"WEB_CONCURRENCY": "2"}, 1),
        ("", {}, 1),
    ],
)
def test_the_command_line_tells(monkeypatch, line, variables, count):
    monkeypatch.setattr(sys, "argv", line.split(" "))
    for name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "GRANIAN_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert process_count() == count
