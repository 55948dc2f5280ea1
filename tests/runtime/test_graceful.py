"""How `servey run` ends, and how its worker processes are replaced."""

import os
import signal
import threading
import time

import httpx
import pytest

from tests.runtime.served import served, status
from tests.serving import free_port, wait_until


def test_it_drains_before_it_ends(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="1") as server, httpx.Client(base_url=server.url) as kept:
        answers = []
        slow = threading.Thread(target=lambda: answers.append(httpx.get(f"{server.url}/actions/slow?seconds=2")))
        slow.start()
        wait_until(lambda: kept.get("/actions/slow-ones").json() == 1, "the slow call")
        assert "connection" not in kept.get("/health/ready").headers
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: kept.get("/health/ready").status_code == 503, "the drain")
        answer = kept.get("/actions/pid")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert kept.get("/health/ready").json() == {"status": "stopping"}
        assert kept.get("/health/live").status_code == 200
        slow.join()
        assert server.process.wait(10) == 0
        assert answers[0].json() == "done"
        assert 1 <= time.monotonic() - begun < 4


def test_a_second_signal_does_not_wait(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="30") as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: status(server, "/health/ready") == 503, "the drain")
        assert server.end() < 3


def test_what_takes_longer_than_the_grace_is_ended(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="0", SERVEY_GRACE="1") as server:
        ended = []
        slow = threading.Thread(target=lambda: ended.append(status(server, "/actions/slow?seconds=30")))
        slow.start()
        wait_until(lambda: httpx.get(f"{server.url}/actions/slow-ones").json() == 1, "the slow call")
        assert server.end() < 4
        slow.join()
        assert ended != [200]


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(150)
def test_no_request_is_lost_while_workers_are_replaced(project, redis):
    """SIGHUP replaces every worker process, one by one, under load."""
    port = free_port()
    with served(project, port, "--workers", "2", SERVEY_REDIS_URL=redis.url, SERVEY_DRAIN="1") as server:
        wait_until(lambda: status(server, "/actions/pid") == 200, "an answer")
        stop, failed, pids = threading.Event(), [], set()

        def load():
            # A connection per request: one that is kept stays with its worker, and a worker that nobody reaches
            # would never be seen.
            while not stop.is_set():
                try:
                    answer = httpx.get(f"{server.url}/actions/pid", timeout=10)
                    pids.add(answer.json())
                    if answer.status_code != 200:
                        failed.append(answer.text)
                except Exception as error:
                    failed.append(repr(error))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(pids) == 2, "both workers")
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(pids) == 4, "two new workers", within=100)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []
        assert server.end() < 10


def test_a_worker_that_is_killed_is_replaced(project, redis):
    port = free_port()
    with served(project, port, "--workers", "2", SERVEY_REDIS_URL=redis.url, SERVEY_DRAIN="0") as server:
        wait_until(lambda: status(server, "/actions/pid") == 200, "an answer")
        pids = set()
        wait_until(lambda: len(pids.add(httpx.get(f"{server.url}/actions/pid").json()) or pids) == 2, "both workers")
        os.kill(next(iter(pids)), signal.SIGKILL)
        wait_until(lambda: len(pids.add(httpx.get(f"{server.url}/actions/pid").json()) or pids) == 3, "a new worker")
        assert server.end() < 10
