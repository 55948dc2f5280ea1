"""Spans and metrics for OpenTelemetry, and their names, which are those of the semantic conventions."""

import json
import re

import pytest
from opentelemetry.semconv._incubating.attributes import graphql_attributes, messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import (
    client_attributes,
    code_attributes,
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.semconv.metrics import http_metrics

from tests.serving import run

TRACED = """
import asyncio, json
import httpx
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
metrics.set_meter_provider(MeterProvider([reader]))

from dataclasses import dataclass
from servey import WEB_GET, BatchInvoker, Settings, action, create_app
from servey.calls.invoke import invoke
from servey.observability.telemetry import processing, sending

@action(triggers=WEB_GET)
async def greet(name: str) -> str:
    with sending(app.runtime, "servey_jobs", "tidy") as carrier:
        sent.append(carrier)
    if name == "nobody":
        raise RuntimeError("CANARY")
    return name

@action
async def tidy() -> None:
    pass

async def lengths_of(things):
    return [len(thing.name) for thing in things]

@dataclass
class Thing:
    name: str

    @action(batch_invoker=BatchInvoker(lengths_of))
    async def length(self) -> int:
        raise AssertionError("the batch is asked")

@action(triggers=WEB_GET)
async def things() -> list[Thing]:
    return [Thing("a"), Thing("bc")]

sent = []
app = create_app(actions=[greet, tidy, things], settings=Settings())

async def main():
    async with app.running():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            await http.get("/actions/greet?name=you", headers=parent)
            await http.get("/actions/greet?name=nobody")
            query = {"query": "query Lengths { things { name length } }", "operationName": "Lengths"}
            await http.post("/graphql", json=query, headers={"traceparent": parent["traceparent"].replace("0af7", "0bf7")})
        with processing(app.runtime, "servey_jobs", "tidy", sent[0], "job-1"):
            async with app.runtime.context("job", trusted=True) as context:
                await invoke(tidy.servey_action, {}, context)

asyncio.run(main())
spans = [
    {"name": s.name, "kind": s.kind.name, "trace": format(s.context.trace_id, "032x"), "status": s.status.status_code.name,
     "parent": s.parent and format(s.parent.span_id, "016x"), "id": format(s.context.span_id, "016x"),
     "links": [format(link.context.span_id, "016x") for link in s.links],
     "attributes": dict(s.attributes), "text": s.to_json()}
    for s in exporter.get_finished_spans()
]
metrics = {
    m.name: {
        "unit": m.unit, "kind": type(m.data).__name__, "attributes": [dict(p.attributes) for p in m.data.data_points],
        "bounds": list(getattr(m.data.data_points[0], "explicit_bounds", ())),
    }
    for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics
}
print(json.dumps({"spans": spans, "metrics": metrics}))
"""


@pytest.fixture(scope="module")
def traced():
    done = run("-c", TRACED)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_trace_from_the_request_to_the_job(traced):
    trace = "0af7651916cd43dd8448eb211c80319c"
    spans = {span["name"]: span for span in traced["spans"] if span["trace"] == trace}
    assert set(spans) == {"GET /actions/greet", "action greet", "send tidy", "process tidy", "action tidy"}
    assert spans["GET /actions/greet"]["parent"] == "b7ad6b7169203331"
    assert spans["action greet"]["parent"] == spans["GET /actions/greet"]["id"]
    assert spans["send tidy"]["parent"] == spans["action greet"]["id"]
    assert spans["process tidy"]["links"] == [spans["send tidy"]["id"]]
    assert spans["action tidy"]["parent"] == spans["process tidy"]["id"]


def test_spans_say_what_the_conventions_say(traced):
    spans = {span["name"]: span for span in traced["spans"] if span["trace"].startswith("0af7")}
    assert (spans["send tidy"]["kind"], spans["process tidy"]["kind"]) == ("PRODUCER", "CONSUMER")
    assert spans["process tidy"]["attributes"] == {
        "messaging.system": "servey_jobs",
        "messaging.destination.name": "tidy",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "job-1",
    }
    assert spans["action greet"]["attributes"]["servey.action"] == "greet"
    assert spans["action greet"]["attributes"]["servey.transport"] == "rest"


def test_the_span_of_a_failure_names_its_type_and_not_its_text(traced):
    (failed,) = [span for span in traced["spans"] if span["name"] == "action greet" and span["status"] == "ERROR"]
    assert failed["attributes"]["error.type"] == "RuntimeError"
    assert "CANARY" not in failed["text"]


def test_an_operation_of_graphql_and_its_fields_that_are_actions(traced):
    spans = {span["name"]: span for span in traced["spans"] if span["trace"].startswith("0bf7")}
    assert set(spans) == {"POST /graphql", "query", "action things", "action Thing.length"}
    assert spans["query"]["attributes"] == {"graphql.operation.type": "query", "graphql.operation.name": "Lengths"}
    assert spans["query"]["parent"] == spans["POST /graphql"]["id"]
    assert {spans[name]["parent"] for name in ("action things", "action Thing.length")} == {spans["query"]["id"]}


def test_what_is_counted_reaches_opentelemetry(traced):
    found = traced["metrics"]
    assert found["servey.calls"]["unit"] == "{call}"
    assert {"servey.action": "greet", "servey.transport": "rest", "servey.status": "200"} in found["servey.calls"][
        "attributes"
    ]
    assert found["servey.call.duration"]["unit"] == "s"
    requests = {"http.request.method": "GET", "http.route": "/actions/greet", "http.response.status_code": 500}
    assert requests in found["servey.http.requests"]["attributes"]


DURATIONS = [
    *(http_metrics.HTTP_SERVER_REQUEST_DURATION,),
    *(messaging_metrics.MESSAGING_CLIENT_OPERATION_DURATION, messaging_metrics.MESSAGING_PROCESS_DURATION),
]


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_have_the_names_and_units_of_the_conventions(traced, name):
    found = traced["metrics"][name]
    assert (found["unit"], found["kind"]) == ("s", "Histogram")
    assert found["bounds"][0] <= 0.01, "the boundaries are for milliseconds"


def test_every_other_metric_is_named_after_servey(traced):
    others = set(traced["metrics"]) - {*DURATIONS, "http.server.active_requests"}
    assert all(name.startswith("servey.") for name in others), others
    for name in others:
        assert re.fullmatch(r"s|\{[a-z]+\}", traced["metrics"][name]["unit"]), name


def test_every_attribute_is_one_of_the_conventions(traced):
    """Names that are not ours are constants of the conventions' package, and not deprecated ones."""
    modules = (code_attributes, error_attributes, graphql_attributes, http_attributes, messaging_attributes)
    modules = (
        *modules,
        client_attributes,
        network_attributes,
        server_attributes,
        url_attributes,
        user_agent_attributes,
    )
    known = {
        value for module in modules for name, value in vars(module).items() if name.isupper() and type(value) is str
    }
    used = {name for span in traced["spans"] for name in span["attributes"]}
    used |= {name for each in traced["metrics"].values() for found in each["attributes"] for name in found}
    assert {name for name in used if not name.startswith("servey.")} <= known
    assert {name for name in used if name.startswith("servey.")} <= {
        "servey.action",
        "servey.transport",
        "servey.status",
    }


def test_the_attributes_that_the_conventions_require_are_there(traced):
    spans = {span["name"]: span for span in traced["spans"] if span["trace"].startswith(("0af7", "0bf7"))}
    request = spans["GET /actions/greet"]
    assert request["kind"] == "SERVER"
    assert {
        *(http_attributes.HTTP_REQUEST_METHOD, http_attributes.HTTP_ROUTE, http_attributes.HTTP_RESPONSE_STATUS_CODE),
        *(url_attributes.URL_PATH, url_attributes.URL_SCHEME),
    } <= set(request["attributes"])
    messaging = {
        *(messaging_attributes.MESSAGING_SYSTEM, messaging_attributes.MESSAGING_DESTINATION_NAME),
        *(messaging_attributes.MESSAGING_OPERATION_NAME, messaging_attributes.MESSAGING_OPERATION_TYPE),
    }
    kinds = {each.value for each in messaging_attributes.MessagingOperationTypeValues}
    for name in ("send tidy", "process tidy"):
        attributes = spans[name]["attributes"]
        assert messaging <= set(attributes)
        assert attributes[messaging_attributes.MESSAGING_OPERATION_TYPE] in kinds
        # The span's name is the operation's name and the destination's.
        assert name == " ".join(
            attributes[each]
            for each in (messaging_attributes.MESSAGING_OPERATION_NAME, messaging_attributes.MESSAGING_DESTINATION_NAME)
        )
    operation = spans["query"]["attributes"]
    kinds = {each.value for each in graphql_attributes.GraphqlOperationTypeValues}
    assert operation[graphql_attributes.GRAPHQL_OPERATION_TYPE] in kinds
    assert operation[graphql_attributes.GRAPHQL_OPERATION_NAME] == "Lengths"
    assert code_attributes.CODE_FUNCTION_NAME in spans["action greet"]["attributes"]
