"""The limits, the log and the metrics of `servey run`."""

import socket
import threading
import time

import httpx
import pytest

from tests.runtime.served import lines, served, status
from tests.serving import free_port, wait_until


def test_a_client_that_is_slow_with_its_headers_is_cut_off(project):
    port = free_port()
    with served(project, port, SERVEY_BODY_TIMEOUT="1", SERVEY_DRAIN="0") as server:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as mute:
            mute.sendall(b"GET /actions/pid HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            begun = time.monotonic()
            assert mute.recv(100) == b""
            assert time.monotonic() - begun < 5
        with socket.create_connection(("127.0.0.1", port), timeout=10) as kept:
            kept.sendall(b"GET /actions/pid HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = kept.recv(4096)
            while not answer.endswith(str(server.process.pid).encode()):
                answer += kept.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            kept.settimeout(3)
            with pytest.raises(TimeoutError):
                kept.recv(100)  # a connection that rests between requests is kept
        assert status(server, "/actions/pid") == 200


def test_bodies_have_their_limits(project):
    port = free_port()
    with served(project, port, SERVEY_BODY_TIMEOUT="1", SERVEY_DRAIN="0") as server:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
            slow.sendall(b"POST /actions/length HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
            slow.sendall(b'Content-Length: 100\r\n\r\n{"text": ')
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        assert httpx.post(f"{server.url}/actions/length", content=b"x" * (1 << 21)).status_code == 413
        wrong = httpx.post(f"{server.url}/actions/numbers", json={"items": ["x"] * 200_000}, timeout=10)
        assert wrong.status_code == 422
        assert len(wrong.content) < 65536


def test_over_the_number_of_calls_in_flight_it_says_when_to_come_back(project):
    port = free_port()
    with served(project, port, SERVEY_MAX_IN_FLIGHT="1", SERVEY_DRAIN="0") as server:
        slow = threading.Thread(target=lambda: status(server, "/actions/slow?seconds=2"))
        slow.start()
        wait_until(lambda: status(server, "/actions/pid") == 503, "the refusal")
        refused = httpx.get(f"{server.url}/actions/pid")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert status(server, "/health/live") == 200
        slow.join()
        assert status(server, "/actions/pid") == 200


def test_its_log_is_json_without_anything_secret(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="0") as server:
        headers = {"X-Request-ID": "r1", "Authorization": "Bearer CANARY-token", "Cookie": "a=CANARY-cookie"}
        httpx.post(
            f"{server.url}/actions/length?q=CANARY-query%0aFORGED", json={"text": "CANARY-body"}, headers=headers
        )
        answered = httpx.get(f"{server.url}/actions/pid").headers["x-request-id"]
        status(server, "/nowhere%0a%7b%22level%22:%22FORGED%22%7d")
        assert server.end() < 4
        text = server.log.read_text(encoding="utf-8")
        told = lines(server)
        assert len(told) == len(text.splitlines())
    assert "CANARY" not in text
    of_call = {line["logger"]: line for line in told if line.get("request_id") == "r1"}
    assert of_call["shop"]["msg"] == "measuring"
    assert of_call["servey.access"]["route"] == "/actions/length"
    assert of_call["servey.access"]["status"] == 200
    assert of_call["servey.access"]["duration_ms"] > 0
    of_access = [line for line in told if line["logger"] == "servey.access"]
    assert [line["status"] for line in of_access] == [200, 200, 404]
    assert of_access[1]["request_id"] == answered


def test_calls_need_not_be_logged(project):
    port = free_port()
    with served(project, port, SERVEY_ACCESS_LOG="0", SERVEY_DRAIN="0") as server:
        status(server, "/actions/pid")
        server.end()
        assert [line for line in lines(server) if line["logger"] == "servey.access"] == []


def test_metrics_are_served_where_asked_for(project):
    port = free_port()
    with served(project, port, SERVEY_METRICS="1", SERVEY_DRAIN="0") as server:
        status(server, "/actions/pid")
        text = httpx.get(f"{server.url}/metrics").text
    assert 'servey_calls_total{action="pid",transport="rest",status="200"} 1' in text.splitlines()
    assert "servey_calls_in_flight 0" in text.splitlines()
