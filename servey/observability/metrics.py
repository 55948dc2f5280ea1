"""The metrics of a process: their definitions, their values, and Prometheus' text format.

Counting is cheap and always on; only `/metrics` needs a setting. Labels are names from the project, never client input.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from servey.observability.shared_metrics import SharedMetrics

logger: logging.Logger = logging.getLogger("servey")

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = Mapping[Labels, float]
ReadGauge: TypeAlias = Callable[[], Values | Awaitable[Values]]
"""Returns the current values of a gauge by their labels."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZE = len(SECONDS) + 2
"""The numbers of a histogram: its buckets, the rest, and the sum of all durations."""
_SAMPLE_SECONDS = 1
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric: its Prometheus name, kind, help text and label names.

    Shape: ``is_summed`` says that a gauge is one of each process, and not of something that the processes share.
    Units: ``unit`` is that of OpenTelemetry for a counter, what it counts in braces.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    is_summed: bool = False
    unit: str = "1"


CALLS = Metric(
    "servey_calls_total",
    "counter",
    "Calls of actions; status is the HTTP status",
    ("action", "transport", "status"),
    unit="{call}",
)
CALL_SECONDS = Metric("servey_call_duration_seconds", "histogram", "Duration of calls", ("action", "transport"))
HTTP_REQUESTS = Metric(
    "servey_http_requests_total",
    "counter",
    "HTTP requests by the path of their route",
    ("method", "route", "status"),
    unit="{request}",
)
IN_FLIGHT = Metric("servey_calls_in_flight", "gauge", "HTTP calls that are running now", is_summed=True)
IN_FLIGHT_LIMIT = Metric(
    "servey_calls_in_flight_limit", "gauge", "HTTP calls that may run at once: SERVEY_MAX_IN_FLIGHT", is_summed=True
)
JOBS_ENQUEUED = Metric("servey_jobs_enqueued_total", "counter", "Jobs that were enqueued", ("action",), unit="{job}")
JOBS = Metric(
    "servey_jobs_total",
    "counter",
    "Tries of jobs; outcome: done, retried, failed, dead, cancelled or returned",
    ("action", "queue", "outcome"),
    unit="{try}",
)
JOB_RUN = Metric("servey_job_run_seconds", "histogram", "Duration of tries of jobs", ("action", "queue"))
JOB_WAIT = Metric(
    "servey_job_wait_seconds", "histogram", "How late jobs started after they were due", ("action", "queue")
)
JOBS_QUEUED = Metric("servey_jobs_queued", "gauge", "Jobs that are waiting")
JOBS_OLDEST = Metric("servey_jobs_oldest_seconds", "gauge", "How long the most overdue job has waited")
QUEUE_JOBS = Metric("servey_queue_jobs", "gauge", "Jobs of a queue; state: queued or running", ("queue", "state"))
QUEUE_OLDEST = Metric("servey_queue_oldest_seconds", "gauge", "How long the most overdue job has waited", ("queue",))
ACTION_JOBS = Metric(
    "servey_action_jobs",
    "gauge",
    "Jobs of an action; state: queued, running or dead (given up)",
    ("action", "queue", "state"),
)
ACTION_OLDEST = Metric(
    "servey_action_oldest_seconds",
    "gauge",
    "How long the most overdue job of an action has waited",
    ("action", "queue"),
)
QUEUE_PAUSED = Metric("servey_queue_paused", "gauge", "Whether a queue is paused", ("queue",))
JOBS_DEAD = Metric("servey_jobs_dead", "gauge", "Dead jobs; `servey jobs` lists them")
SCHEDULED = Metric(
    "servey_schedule_runs_total",
    "counter",
    "Slots of schedules that this process ran; outcome: done or failed",
    ("action", "outcome"),
    unit="{run}",
)
SCHEDULE_LAG = Metric("servey_schedule_lag_seconds", "histogram", "How late slots started", ("action",))
PUBLISHED = Metric(
    "servey_events_published_total", "counter", "Events that this process published", ("channel",), unit="{event}"
)
DELIVERED = Metric(
    "servey_events_delivered_total",
    "counter",
    "Events that were delivered to subscribers",
    ("channel",),
    unit="{event}",
)
SUBSCRIBERS = Metric("servey_subscribers", "gauge", "Open subscriptions", ("channel",), is_summed=True)
SUBSCRIBERS_DROPPED = Metric(
    "servey_subscribers_dropped_total",
    "counter",
    "Subscriptions that the server ended; reason: slow, expired or forbidden",
    ("channel", "reason"),
    unit="{subscription}",
)
CACHE = Metric(
    "servey_cache_requests_total",
    "counter",
    "Cache lookups; result: hit or miss",
    ("action", "result"),
    unit="{lookup}",
)
TASK_RESTARTS = Metric(
    "servey_task_restarts_total",
    "counter",
    "Long-lived tasks of this process that failed and were restarted",
    ("task",),
    unit="{restart}",
)
PART_UP = Metric("servey_part_up", "gauge", "Whether a part in use answers: bus, queue, cache", ("part",))


_KNOWN = {each.name: each for each in tuple(vars().values()) if isinstance(each, Metric)}


class Metrics:
    """The values of all metrics of one process.

    Shape: ``forward``, if set, is called for every change, to export it elsewhere.
    """

    def __init__(self) -> None:
        self.forward: Callable[[Metric, float, Labels], None] | None = None
        self._sums: dict[Metric, dict[Labels, float]] = {}
        self._buckets: dict[Metric, dict[Labels, list[float]]] = {}
        self._gauges: dict[Metric, ReadGauge] = {}
        self._shared: SharedMetrics | None = None

    def add(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        """Add to a counter."""
        values = self._sums.setdefault(metric, {})
        values[labels] = values.get(labels, 0) + amount
        if self._shared is not None:
            self._shared.add(metric.name, labels, amount)
        if self.forward is not None:
            self.forward(metric, amount, labels)

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Add a duration to a histogram."""
        buckets = self._buckets.setdefault(metric, {}).get(labels)
        if buckets is None:
            buckets = self._buckets[metric][labels] = [0.0] * _SIZE
        bucket = bisect_left(SECONDS, seconds)
        buckets[bucket] += 1
        buckets[-1] += seconds
        if self._shared is not None:
            self._shared.observe(metric.name, labels, seconds, bucket=bucket, size=_SIZE)
        if self.forward is not None:
            self.forward(metric, seconds, labels)

    def register_gauge(self, metric: Metric, read: ReadGauge) -> None:
        """Set the function that reads a gauge."""
        self._gauges[metric] = read

    @property
    def gauges(self) -> Mapping[Metric, ReadGauge]:
        """The registered gauges."""
        return self._gauges

    def value(self, metric: Metric, *labels: str) -> float:
        """The value of a counter, or the number of observations of a histogram, in this process."""
        if metric.kind == "histogram":
            return sum(self._buckets.get(metric, {}).get(labels, ())[:-1])
        return self._sums.get(metric, {}).get(labels, 0)

    @asynccontextmanager
    async def shared_in(self, folder: Path | None) -> AsyncIterator[None]:
        """Share the values in a folder with other processes: `text` then has the sums of all. Without one, do nothing.

        Gauges of other processes are up to a second old.
        Errors: ConfigError if the folder cannot be written.
        """
        if folder is None:
            yield
            return
        from servey.observability.shared_metrics import SharedMetrics  # not on every platform

        shared = self._shared = await asyncio.to_thread(SharedMetrics, folder)
        sampling = asyncio.create_task(self._sample_gauges(shared))
        try:
            yield
        finally:
            self._shared = None
            sampling.cancel()
            shared.close()

    async def text(self, **common: str) -> str:
        """All metrics in Prometheus' text format; every line has the ``common`` labels too.

        Source: Prometheus' text exposition format 0.0.4.
        """
        # All at once: while Redis hangs each waits for seconds, and Prometheus gives up after ten.
        found = await asyncio.gather(*map(_read, self._gauges.values()))
        gauges: dict[Metric, Values] = dict(zip(self._gauges, found, strict=True))
        sums: Mapping[Metric, Values] = self._sums
        rows: Mapping[Metric, Mapping[Labels, Sequence[float]]] = self._buckets
        if self._shared is not None:
            await _write_gauges(self._shared, self._gauges)
            totals = await _totals(self._shared)
            if totals is not None:
                sums = _values(totals, "counter")
                rows = {metric: found for metric, found in totals.items() if metric.kind == "histogram"}
                gauges |= _values(totals, "gauge")
        lines: list[str] = []
        for metric, values in sums.items():
            lines += _lines(metric, values, common)
        for metric, series in rows.items():
            lines += _head(metric)
            for each, buckets in series.items():
                lines += _histogram(metric, each, buckets, common)
        for metric, values in gauges.items():
            lines += _lines(metric, values, common)
        return "\n".join(lines) + "\n" if lines else ""

    async def _sample_gauges(self, shared: SharedMetrics) -> None:
        while True:
            await _write_gauges(shared, self._gauges)
            await asyncio.sleep(_SAMPLE_SECONDS)


async def _write_gauges(shared: SharedMetrics, gauges: Mapping[Metric, ReadGauge]) -> None:
    for metric, read in gauges.items():
        if metric.is_summed:
            shared.set_gauges(metric.name, await _read(read))


async def _totals(shared: SharedMetrics) -> dict[Metric, dict[Labels, list[float]]] | None:
    """The sums over all processes by metric, or None if they cannot be read."""
    try:
        read = await asyncio.to_thread(shared.read)
    except OSError as error:
        logger.error("/metrics shows only one of several processes: %s", error)
        return None
    totals: dict[Metric, dict[Labels, list[float]]] = {}
    for (name, labels), numbers in read.items():
        metric = _KNOWN.get(name)
        # An older version may have counted with other labels or buckets.
        if metric is not None and (len(labels), len(numbers)) == (len(metric.labels), _size(metric)):
            totals.setdefault(metric, {})[labels] = numbers
    return totals


def _size(metric: Metric) -> int:
    return _SIZE if metric.kind == "histogram" else 1


def _values(totals: Mapping[Metric, Mapping[Labels, Sequence[float]]], kind: Kind) -> dict[Metric, Values]:
    return {
        metric: {labels: numbers[0] for labels, numbers in series.items()}
        for metric, series in totals.items()
        if metric.kind == kind
    }


async def _read(read: ReadGauge) -> Values:
    """The values of a gauge, or none if they cannot be read."""
    try:
        found = read()
        return await found if isawaitable(found) else found
    except Exception:
        return {}


def _head(metric: Metric) -> tuple[str, str]:
    return f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"


def _lines(metric: Metric, values: Values, common: Mapping[str, str]) -> Iterable[str]:
    yield from _head(metric)
    for each, number in values.items():
        yield f"{metric.name}{_labels(metric, each, common)} {_text(number)}"


def _histogram(metric: Metric, labels: Labels, buckets: Sequence[float], common: Mapping[str, str]) -> Iterable[str]:
    total = 0.0
    for limit, count in zip((*(f"{second:g}" for second in SECONDS), "+Inf"), buckets, strict=False):
        total += count
        yield f"{metric.name}_bucket{_labels(metric, labels, {**common, 'le': limit})} {_text(total)}"
    yield f"{metric.name}_sum{_labels(metric, labels, common)} {_text(buckets[-1])}"
    yield f"{metric.name}_count{_labels(metric, labels, common)} {_text(total)}"


def _labels(metric: Metric, values: Labels, common: Mapping[str, str]) -> str:
    pairs = [*zip(metric.labels, values, strict=True), *common.items()]
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}" if pairs else ""


def _text(number: float) -> str:
    # The format `g` would round from a million on.
    return str(int(number)) if number == int(number) else repr(number)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
