"""`/metrics` of several processes is one whole, whichever of them answers, and whichever has died."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.observability import shared_metrics
from servey.observability.metrics import CACHE, SCHEDULE_LAG, SUBSCRIBERS, Metrics
from servey.observability.shared_metrics import shared_by_processes
from tests.runtime.served import served, status
from tests.serving import free_port, started, wait_until

CHANNEL = "from servey import websocket_event_channel\n\nnews = websocket_event_channel('news', str)\n"
REQUESTS = 120


pytestmark = pytest.mark.anyio


def value(text, name, **labels):
    """The value of one series, as Prometheus' own client reads it; 0 if there is none."""
    found = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1, f"{name} is there several times"
    return found[0] if found else 0


def pids_of(server, count, gone=frozenset()):
    """The ids of the processes that answer, once there are so many."""
    seen = set()

    def ask():
        try:
            seen.add(httpx.get(f"{server.url}/actions/pid", timeout=20).json())
        except httpx.TransportError:
            pass  # the process that is killed had accepted it
        return len(seen - gone) >= count

    wait_until(ask, f"{count} processes", within=40)
    return seen - gone


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_all_processes_are_one_whole(project, redis):
    (project / "event_channels.py").write_text(CHANNEL, encoding="utf-8")
    port = free_port()
    env = {"SERVEY_REDIS_URL": redis.url, "SERVEY_METRICS": "1", "SERVEY_DRAIN": "0"}
    with served(project, port, "--workers", "3", **env) as server, ExitStack() as stack:

        def metrics():
            return httpx.get(f"{server.url}/metrics", timeout=20).text  # a connection each, so that any process answers

        def calls(text):
            return value(text, "servey_calls_total", action="length", transport="rest", status="200")

        def request(number):
            return httpx.post(f"{server.url}/actions/length", json={"text": "a"}, timeout=20).status_code

        pids = pids_of(server, 3)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(request, range(REQUESTS))) == {200}
        wait_until(lambda: calls(metrics()) == REQUESTS, "the count of all requests")
        place = f"ws://127.0.0.1:{port}/subscription/news"
        sockets = [stack.enter_context(connect(place)) for _ in range(6)]

        def subscribers():
            return value(metrics(), "servey_subscribers", channel="news")

        wait_until(lambda: subscribers() == 6, "the gauge of all subscribers")
        killed = pids.pop()
        os.kill(killed, signal.SIGKILL)
        alive = pids_of(server, 3, {killed})

        texts = [metrics() for _ in range(30)]
        assert {calls(text) for text in texts} == {REQUESTS}
        count = {value(text, "servey_call_duration_seconds_count", action="length", transport="rest") for text in texts}
        assert count == {REQUESTS}
        # The subscribers of the killed process are gone.
        open_sockets = 0
        for each in sockets:
            try:
                each.recv(timeout=0.1)
            except TimeoutError:
                open_sockets += 1
            except ConnectionClosed:
                continue
        wait_until(lambda: subscribers() == open_sockets, "the gauge of the living processes")
        limit = {value(text, "servey_calls_in_flight_limit") for text in texts}
        assert limit == {3 * Settings().max_in_flight}
        folder = Path(f"/proc/{alive.pop()}/environ").read_text(encoding="utf-8").split("SERVEY_METRICS_DIR=")[1]
        folder = Path(folder.split("\0")[0])
        assert len(list(folder.glob("*.names"))) == 3
        assert server.end() < 10
    assert not folder.exists()


@pytest.mark.slow
def test_another_server_shares_them_in_the_folder_of_the_setting(project, tmp_path):
    (project / "main.py").write_text("from servey import create_app\n\nservey_app = create_app()\n", encoding="utf-8")
    port, folder = free_port(), tmp_path / "own" / "metrics"
    words = ["-m", "uvicorn", "main:servey_app", "--port", str(port), "--workers", "2"]
    with started(words, port, cwd=project, SERVEY_METRICS="1", SERVEY_METRICS_DIR=str(folder)) as server:
        wait_until(lambda: status(server, "/health/live") == 200, "an answer")
        pids_of(server, 2)
        for _ in range(20):
            httpx.post(f"{server.url}/actions/length", json={"text": "a"})

        def calls():
            text = httpx.get(f"{server.url}/metrics").text
            return value(text, "servey_calls_total", action="length", transport="rest", status="200")

        wait_until(lambda: calls() == 20, "the count of all requests")
        assert {calls() for _ in range(10)} == {20}


async def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="SERVEY_METRICS_DIR: .* cannot be written"):
        async with Metrics().shared_in(tmp_path / "file"):
            pass


async def test_counters_of_ended_processes_remain_and_gauges_do_not(tmp_path):
    first, second = Metrics(), Metrics()
    first.register_gauge(SUBSCRIBERS, lambda: {("news",): 2})
    second.register_gauge(SUBSCRIBERS, lambda: {("news",): 3})
    async with second.shared_in(tmp_path):
        async with first.shared_in(tmp_path):
            first.add(CACHE, "report", "hit", amount=5)
            first.observe(SCHEDULE_LAG, 0.3, "tick")
            second.add(CACHE, "report", "hit", amount=7)
            second.observe(SCHEDULE_LAG, 70, "tick")
            for each in (await first.text(), await second.text()):
                assert value(each, "servey_cache_requests_total", action="report", result="hit") == 12
                assert value(each, "servey_schedule_lag_seconds_sum", action="tick") == 70.3
                assert value(each, "servey_schedule_lag_seconds_bucket", action="tick", le="0.5") == 1
                assert value(each, "servey_schedule_lag_seconds_bucket", action="tick", le="+Inf") == 2
            assert value(await first.text(), "servey_subscribers", channel="news") == 5
        for _ in range(2):
            text = await second.text()
            assert value(text, "servey_cache_requests_total", action="report", result="hit") == 12
            assert value(text, "servey_schedule_lag_seconds_count", action="tick") == 2
            assert value(text, "servey_subscribers", channel="news") == 3
        assert len(list(tmp_path.glob("*.names"))) == 1


async def test_a_merge_that_was_interrupted_is_not_counted_twice(tmp_path):
    first, second = Metrics(), Metrics()
    async with first.shared_in(tmp_path):
        first.add(CACHE, "report", "hit", amount=5)
        files = {each: each.read_bytes() for each in tmp_path.glob("process-*")}
    async with second.shared_in(tmp_path):
        await second.text()
        restore(files)  # as if the process that merged had been killed before it deleted them
        for _ in range(2):
            assert value(await second.text(), "servey_cache_requests_total", action="report", result="hit") == 5


def restore(files):
    for each, content in files.items():
        each.write_bytes(content)


async def test_many_series_are_kept_and_an_incomplete_line_is_ignored(tmp_path):
    metrics, other = Metrics(), Metrics()
    async with metrics.shared_in(tmp_path), other.shared_in(tmp_path):
        for number in range(700):
            metrics.observe(SCHEDULE_LAG, 1, f"action{number}")
        names = next(each for each in tmp_path.glob("*.names") if each.stat().st_size)
        with names.open("ab") as file:
            file.write(b'["", "servey_cache_requests_to')
        text = await other.text()
        assert value(text, "servey_schedule_lag_seconds_count", action="action0") == 1
        assert value(text, "servey_schedule_lag_seconds_sum", action="action699") == 1


async def test_a_folder_that_is_gone_leaves_the_numbers_of_the_process(tmp_path, caplog):
    folder = tmp_path / "shared"
    folder.mkdir()
    metrics = Metrics()
    async with metrics.shared_in(folder):
        metrics.add(CACHE, "report", "hit")
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
        assert value(await metrics.text(), "servey_cache_requests_total", action="report", result="hit") == 1
    assert "/metrics shows only one of several processes" in caplog.text


def test_without_a_writable_folder_it_refuses_to_start(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_metrics, "_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(shared_metrics.tempfile, "gettempdir", lambda: str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="needs a writable folder"), shared_by_processes(Settings(metrics=True)):
        pass


def test_what_a_killed_server_left_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_metrics, "_MEMORY", tmp_path)
    monkeypatch.setenv("SERVEY_METRICS_DIR", "")
    left = tmp_path / "servey-metrics-left"
    left.mkdir()
    (left / "owner").touch()
    (left / "ended.json").write_text(json.dumps({}), encoding="utf-8")
    with shared_by_processes(Settings(metrics=True, metrics_dir=None)):
        with shared_by_processes(Settings(metrics=True, metrics_dir=None)):
            assert not left.exists()
            assert len(list(tmp_path.iterdir())) == 2  # that of a server that runs is not deleted
    assert list(tmp_path.iterdir()) == []
