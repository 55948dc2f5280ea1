"""Servey inside of a FastAPI project, as that project's own tests see it, and under a real server."""

import httpx

from tests.serving import ROOT, free_port, run, started


def test_its_own_tests_pass():
    done = run("-m", "pytest", "-q", "tests", cwd=ROOT / "examples" / "mounted", timeout=60)
    assert (done.returncode, "6 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_it_is_served_by_uvicorn_and_by_servey_run():
    for words in (["-m", "uvicorn"], ["-m", "servey", "run"]):
        port = free_port()
        with started(
            [*words, "app:api", "--port", str(port)], port, cwd="examples/mounted", SERVEY_DRAIN="0"
        ) as server:
            books = httpx.get(f"{server.url}/servey/actions/find-books", params={"text": "mm"})
            assert (books.json(), books.headers["x-library"]) == (["Emma"], "open")
            assert server.end() < 8
