"""What is counted, and how Prometheus reads it."""

import asyncio

import pytest

from servey.observability.metrics import CACHE, IN_FLIGHT, JOBS_QUEUED, SCHEDULE_LAG, Metric, Metrics

pytestmark = pytest.mark.anyio


async def test_what_is_counted_is_told():
    metrics = Metrics()
    metrics.add(CACHE, "report", "hit")
    metrics.add(CACHE, "report", "hit")
    metrics.add(CACHE, "report", "miss", amount=3)
    assert metrics.value(CACHE, "report", "hit") == 2
    assert metrics.value(CACHE, "other", "hit") == 0
    assert (await metrics.text()).splitlines() == [
        "# HELP servey_cache_requests_total Cache lookups; result: hit or miss",
        "# TYPE servey_cache_requests_total counter",
        'servey_cache_requests_total{action="report",result="hit"} 2',
        'servey_cache_requests_total{action="report",result="miss"} 3',
    ]


async def test_durations_fall_into_buckets():
    metrics = Metrics()
    for seconds in (0.005, 0.3, 0.5, 60):
        metrics.observe(SCHEDULE_LAG, seconds, "tick")
    assert metrics.value(SCHEDULE_LAG, "tick") == 4
    lines = (await metrics.text()).splitlines()
    assert lines[1] == "# TYPE servey_schedule_lag_seconds histogram"
    assert lines[2] == 'servey_schedule_lag_seconds_bucket{action="tick",le="0.005"} 1'
    assert 'servey_schedule_lag_seconds_bucket{action="tick",le="0.5"} 3' in lines
    assert lines[-3:] == [
        'servey_schedule_lag_seconds_bucket{action="tick",le="+Inf"} 4',
        'servey_schedule_lag_seconds_sum{action="tick"} 60.805',
        'servey_schedule_lag_seconds_count{action="tick"} 4',
    ]


async def test_gauges_are_asked_when_somebody_looks():
    async def queued():
        return {(): 7}

    metrics = Metrics()
    metrics.register_gauge(IN_FLIGHT, lambda: {(): 2})
    metrics.register_gauge(JOBS_QUEUED, queued)
    lines = (await metrics.text(worker="1")).splitlines()
    assert 'servey_calls_in_flight{worker="1"} 2' in lines
    assert 'servey_jobs_queued{worker="1"} 7' in lines


async def test_gauges_that_wait_are_read_at_once():
    metrics, other = Metrics(), asyncio.Event()

    async def slow() -> dict[tuple[str, ...], float]:
        await other.wait()
        return {(): 1}

    def sets() -> dict[tuple[str, ...], float]:
        other.set()
        return {(): 2}

    metrics.register_gauge(JOBS_QUEUED, slow)
    metrics.register_gauge(IN_FLIGHT, sets)
    async with asyncio.timeout(5):
        assert {"servey_jobs_queued 1", "servey_calls_in_flight 2"} <= set((await metrics.text()).splitlines())


async def test_labels_are_escaped():
    metrics = Metrics()
    metrics.add(Metric("odd", "counter", "Odd", ("name",)), 'a "b"\\\nc')
    assert 'odd{name="a \\"b\\"\\\\\\nc"} 1' in (await metrics.text()).splitlines()


async def test_every_change_is_forwarded():
    metrics = Metrics()
    seen = []
    metrics.forward = lambda metric, amount, labels: seen.append((metric, amount, labels))
    metrics.add(CACHE, "report", "hit")
    metrics.observe(SCHEDULE_LAG, 0.25, "tick")
    assert seen == [(CACHE, 1, ("report", "hit")), (SCHEDULE_LAG, 0.25, ("tick",))]


async def test_large_counts_are_told_exactly():
    metrics = Metrics()
    metrics.add(CACHE, "report", "hit", amount=12345678)
    assert 'servey_cache_requests_total{action="report",result="hit"} 12345678' in await metrics.text()
