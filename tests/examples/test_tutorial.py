"""The app of the tutorial is what its pages build; its own tests pass, and one Lambda function serves it."""

import pytest

from tests.repo.snippets import blocks_of
from tests.repo.test_docs import TUTORIAL
from tests.serving import ROOT, run

APP = ROOT / "examples" / "tutorial"

LAMBDA = """
import asyncio
from app import servey_app
from servey.aws import build_handler

handler = build_handler(servey_app)
request = {
    "version": "2.0", "routeKey": "$default", "rawPath": "/board", "rawQueryString": "", "headers": {"host": "x.example"},
    "requestContext": {"http": {"method": "GET", "path": "/board", "sourceIp": "127.0.0.1"}, "stage": "$default"},
    "isBase64Encoded": False,
}
answer = handler(request, None)
assert answer["statusCode"] == 200, answer
assert '<span id="open">0</span>' in answer["body"], answer
"""


def test_it_is_what_the_pages_build():
    built = {}
    for page in TUTORIAL:
        built |= {block.file_name: block.text for block in blocks_of(page) if block.file_name is not None}
    assert built.pop(".env")
    for name in built:
        assert (APP / name).read_text(encoding="utf-8") == built[name], name
    there = {str(path.relative_to(APP)) for path in APP.rglob("*") if path.suffix in (".py", ".j2", ".txt", ".yml")}
    assert there - set(built) == set()


def test_its_own_tests_pass():
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=APP, timeout=120)
    assert (done.returncode, "16 passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.slow
def test_one_lambda_function_serves_it(tmp_path):
    variables = {
        "JWT_SECRET_KEY": "a-secret-of-at-least-32-bytes-for-tests",
        "DESK_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/desk.db",
        "DESK_WEBHOOK_URL": "https://books.example.com/closed",
    }
    done = run("-c", LAMBDA, cwd=APP, timeout=60, **variables)
    assert done.returncode == 0, done.stderr
