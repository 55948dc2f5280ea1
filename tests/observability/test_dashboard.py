"""The Grafana dashboard and the alert rules name metrics and labels that `/metrics` has.

Parsers of others judge: that of Prometheus' own client reads `/metrics`, a parser of PromQL the expressions.
"""

import asyncio
import json
import re

import httpx
import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from servey import Authorization
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.observability import metrics
from servey.observability.dashboard import ALERTS, PANELS, alert_rules, grafana_dashboard
from servey.observability.metrics import Metric, Metrics
from tests.serving import free_port, run, started, wait_until

KNOWN = {each.name: each for each in vars(metrics).values() if isinstance(each, Metric)}
EXPRESSIONS = [
    *(
        (each["title"], each["targets"][0]["expr"], each["targets"][0]["legendFormat"])
        for each in grafana_dashboard()["panels"]
    ),
    *((each["alert"], each["expr"], "") for each in alert_rules()["groups"][0]["rules"]),
]
SECRET = "0123456789abcdef0123456789abcdef"
PROJECT = """
from servey import *

@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def cached() -> int:
    return 1

@action(triggers=WEB_POST)
async def works() -> int:
    return 1

@action(triggers=WEB_POST, retry=Retry(max_tries=1))
async def fails() -> int:
    raise RuntimeError("always")

@action(triggers=FixedRateTrigger(1))
async def ticks() -> None:
    await news.publish("tick")

news = websocket_event_channel("news", str)
"""
CHANNELS = "from actions import news\n"


def parts(node):
    """An expression and all expressions in it."""
    yield node
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    for each in [*children, *(getattr(node, "args", None) or ())]:
        if each is not None:
            yield from parts(each)


def families(text):
    """What Prometheus reads: the kind and the label names of each series."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            kind, labels = found.get(sample.name, (family.type, frozenset()))
            found[sample.name] = kind, labels | set(sample.labels)
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory, redis):
    """The series of a server and a worker that have done everything that is counted."""
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "actions.py").write_text(PROJECT, encoding="utf-8")
    (folder / "event_channels.py").write_text(CHANNELS, encoding="utf-8")
    restarted = Metrics()
    restarted.add(metrics.TASK_RESTARTS, "events")  # no task fails here, even while Redis is down
    port, worker_port = free_port(), free_port()
    env = {"SERVEY_METRICS": "1", "SERVEY_REDIS_URL": redis.url, "JWT_SECRET_KEY": SECRET, "SERVEY_JWT_LEEWAY": "0"}
    env |= {"SERVEY_DRAIN": "0", "SERVEY_WORKER_PORT": str(worker_port), "SERVEY_JOB_GRACE": "1"}
    with (
        started(["-m", "servey", "run", "--port", str(port)], port, cwd=folder, **env) as server,
        started(["-m", "servey", "worker"], worker_port, cwd=folder, **env) as worker,
    ):
        token = JwtAuthorizer(OneKey(secret_key(SECRET))).sign(Authorization("ada"), lifetime=4)
        headers = {"Authorization": f"Bearer {token}"}
        with connect(f"ws://127.0.0.1:{port}/subscription/news", additional_headers=headers) as socket:
            assert socket.recv(timeout=10) == '"tick"'
            for _ in range(2):
                httpx.get(f"{server.url}/actions/cached")
            for name in ("works", "fails"):
                httpx.post(f"{server.url}/actions/{name}", json={}, headers={"Prefer": "respond-async"})
            found = families(asyncio.run(restarted.text()))

            def is_complete():
                for each in (server, worker):
                    found.update(families(httpx.get(f"{each.url}/metrics", timeout=10).text))
                return {plain(name) for name in found} >= set(KNOWN)

            wait_until(is_complete, "each metric")
    return found


def plain(name):
    """The metric of a series; a histogram has three."""
    short = re.sub(r"_(bucket|sum|count)$", "", name)
    return short if short in KNOWN and KNOWN[short].kind == "histogram" else name


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_metric_and_label_is_in_a_real_scrape(scraped):
    for title, expression, legend in EXPRESSIONS:
        tree = promql_parser.parse(expression)
        selectors = [each for each in parts(tree) if isinstance(each, promql_parser.VectorSelector)]
        assert selectors, title
        grouped = {label for each in parts(tree) for label in getattr(getattr(each, "modifier", None), "labels", ())}
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert shown <= grouped, f"{title}: its legend has labels that the expression drops"
        rated = {
            each.args[0].vector_selector.name
            for each in parts(tree)
            if isinstance(each, promql_parser.Call) and each.func.name == "rate"
        }
        for selector in selectors:
            assert selector.name in scraped, f"{title}: /metrics has no {selector.name}"
            kind, labels = scraped[selector.name]
            filtered = {each.name for each in selector.matchers.matchers}
            assert grouped | filtered <= labels, title
            assert (selector.name in rated) == (kind != "gauge"), f"{title}: rate() is for counters"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_real_scrape_has_what_the_docs_list(scraped):
    kinds = {plain(name): kind for name, (kind, _) in scraped.items()}
    assert {name: kinds.get(name) for name in KNOWN} == {name: each.kind for name, each in KNOWN.items()}
    for name, (_, labels) in scraped.items():
        assert labels - {"le"} == set(KNOWN[plain(name)].labels), name


@pytest.mark.parametrize(("title", "expression", "legend"), EXPRESSIONS, ids=lambda each: each[:30])
def test_every_expression_is_promql(title, expression, legend):
    tree = promql_parser.parse(expression)
    for each in parts(tree):
        if isinstance(each, promql_parser.VectorSelector):
            assert plain(each.name) in KNOWN, title


def test_every_metric_is_shown():
    shown = {
        plain(each.name)
        for _, text, _ in EXPRESSIONS
        for each in parts(promql_parser.parse(text))
        if isinstance(each, promql_parser.VectorSelector)
    }
    assert set(KNOWN) - shown - {"servey_jobs_enqueued_total", "servey_events_published_total"} == set()


def test_the_dashboard_is_what_grafana_imports():
    dashboard = grafana_dashboard()
    panels = dashboard["panels"]
    places = {(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels}
    assert len(places) == len({each["id"] for each in panels}) == len(PANELS)
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)
    assert all(each["title"] and each["type"] == "timeseries" for each in panels)
    (variable,) = dashboard["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": "${" + variable["name"] + "}"}
    used = [each["datasource"] for each in panels] + [
        query["datasource"] for each in panels for query in each["targets"]
    ]
    assert used == [chosen] * len(used)
    assert dashboard["schemaVersion"] >= 36  # data sources as objects, and time series as panels, since Grafana 9
    assert re.fullmatch(r"[\w-]{1,40}", dashboard["uid"])


def test_the_alert_rules_are_what_prometheus_loads():
    (group,) = alert_rules()["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(ALERTS)
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z]\w+", rule["alert"])
        assert re.fullmatch(r"\d+s", rule["for"])


def test_the_command_prints_both(tmp_path):
    done = run("-m", "servey", "dashboard", "grafana", cwd=tmp_path, timeout=90)
    assert json.loads(done.stdout) == grafana_dashboard()
    done = run("-m", "servey", "dashboard", "alerts", "-o", "rules.yml", cwd=tmp_path, timeout=90)
    assert json.loads((tmp_path / "rules.yml").read_text(encoding="utf-8")) == alert_rules()
