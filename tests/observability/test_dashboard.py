"""The Grafana dashboard and the alert rules name metrics and labels that `/metrics` has."""

import json
import re

import pytest

from servey.observability import metrics
from servey.observability.dashboard import ALERTS, PANELS, alert_rules, grafana_dashboard
from servey.observability.metrics import Metric
from tests.serving import run

KNOWN = {each.name: each for each in vars(metrics).values() if isinstance(each, Metric)}
EXPRESSIONS = [
    *((each.title, each.expression, each.legend) for each in PANELS),
    *((each.name, each.expression, "") for each in ALERTS),
]


def metric_of(name: str) -> Metric:
    """The metric of a series; a histogram has three."""
    plain = re.sub(r"_(bucket|sum|count)$", "", name)
    if plain in KNOWN and KNOWN[plain].kind == "histogram":
        assert plain != name, f"{name} is a histogram; use its buckets"
        return KNOWN[plain]
    assert name in KNOWN, f"/metrics has no {name}"
    return KNOWN[name]


@pytest.mark.parametrize(("title", "expression", "legend"), EXPRESSIONS, ids=lambda each: each[:30])
def test_every_metric_and_label_exists(title, expression, legend):
    series = re.findall(r"\b(servey_\w+)(?:\{(\w+)[=~!]+\"[^\"]*\"\})?", expression)
    assert series, title
    labels = {label for group in re.findall(r"by \(([^)]+)\)", expression) for label in group.split(", ")}
    labels |= set(re.findall(r"\{\{(\w+)\}\}", legend))
    for name, filtered in series:
        known = metric_of(name)
        assert labels | ({filtered} if filtered else set()) <= {*known.labels, "le"}, title
        assert ("rate(" in expression) == (known.kind != "gauge"), f"{title}: rate() is for counters"
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_every_metric_is_shown():
    shown = {metric_of(name).name for _, text, _ in EXPRESSIONS for name in re.findall(r"\bservey_\w+", text)}
    assert set(KNOWN) - shown - {"servey_jobs_enqueued_total", "servey_events_published_total"} == set()


def test_the_dashboard_is_valid():
    panels = grafana_dashboard()["panels"]
    places = {(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels}
    assert len(places) == len({each["id"] for each in panels}) == len(PANELS)
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)


def test_the_command_prints_both(tmp_path):
    done = run("-m", "servey", "dashboard", "grafana", cwd=tmp_path, timeout=90)
    assert json.loads(done.stdout) == grafana_dashboard()
    done = run("-m", "servey", "dashboard", "alerts", "-o", "rules.yml", cwd=tmp_path, timeout=90)
    assert json.loads((tmp_path / "rules.yml").read_text(encoding="utf-8")) == alert_rules()
