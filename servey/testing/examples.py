"""The examples of an app as test cases: one for each transport of the example's action."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from servey.app import Servey
from servey.calls.enqueue import why_no_job
from servey.core.access import Authorization
from servey.core.actions import Action, Example
from servey.core.triggers import WebTrigger, WebTriggerMethod
from servey.graphql.mount import is_installed
from servey.graphql.schema.fields import Fields, fields_of
from servey.graphql.schema.shapes import Field
from servey.http.web import has_body
from servey.mcp.kinds.tools import Tool
from servey.mcp.offers import Offers, offers_of
from servey.routers.rest.routes import path_of
from servey.testing.graphql import expected_data, run_field
from servey.testing.mcp import has_client, run_tool
from servey.testing.outcomes import Outcome, serialized
from servey.testing.transports import run_call, run_job, run_rest


@dataclass(frozen=True)
class ExampleCase:
    """One example of one action, through one transport."""

    action: Action
    example: Example
    transport: str
    run: Callable[[Servey, Authorization | None], Outcome]
    expected: Callable[[], Any]

    @property
    def id(self) -> str:
        """The name of the case in test reports."""
        return f"{self.action.name}-{self.example.name}-{self.transport}"

    def check(self, app: Servey, authorization: Authorization | None = None) -> None:
        """Run the example. Errors: AssertionError with the case, the expected and the actual outcome."""
        got = self.run(app, authorization)
        wanted = Outcome(error=self.example.error) if self.example.error else Outcome(self.expected())
        if (got.value, got.error) != (wanted.value, wanted.error):
            raise AssertionError(
                f"example '{self.example.name}' of action '{self.action.name}' through {self.transport}: "
                f"expected {_shown(wanted)}, got {_shown(got)}"
            )


def example_cases(app: Servey) -> list[ExampleCase]:
    """Return a case for each example that is included in tests and each transport of its action.

    A method has no GraphQL case: only a field that returns its object leads to it. HEAD has no case: it has no body.
    """
    fields = fields_of(app.runtime) if is_installed() else Fields()
    offers = offers_of(app.runtime) if has_client() else Offers()
    return [
        case
        for action in app.runtime.catalog
        for example in action.examples
        if example.include_in_tests
        for case in (*_cases(app, fields, action, example), *_tool_cases(offers, action, example))
    ]


def _cases(app: Servey, fields: Fields, action: Action, example: Example) -> list[ExampleCase]:
    def case(transport: str, run: Callable[[Servey, Authorization | None], Outcome]) -> ExampleCase:
        return ExampleCase(action, example, transport, run, lambda: _as_json(action, example))

    plan = app.runtime.plan(action)
    found = []
    if plan.injection is None or plan.injection.requests_needed is None:
        found.append(case("call", lambda app, caller: run_call(app, action, example, caller)))
    for trigger in action.triggers:
        if isinstance(trigger, WebTrigger) and trigger.method is not WebTriggerMethod.HEAD:
            name = f"{trigger.method} {path_of(action, trigger)}"
            run_request, status = _rest_run(action, example, trigger), trigger.status_code or action.status_code
            if has_body(status or 200):
                found.append(case(name, run_request))
            else:
                found.append(ExampleCase(action, example, name, run_request, lambda: None))
    for kind, field in _fields_with(fields, action):
        run = _graphql_run(kind, field, example)
        name = f"GraphQL {kind} {field.name}"
        found.append(ExampleCase(action, example, name, run, _graphql_expected(field, example)))
    if why_no_job(plan) is None:
        found.append(case("job", lambda app, caller: run_job(app, action, example, caller)))
    return found


def _tool_cases(offers: Offers, action: Action, example: Example) -> Iterator[ExampleCase]:
    for tool in offers.tools.values():
        if tool.action is action:
            name = f"MCP tool {tool.name}"
            yield ExampleCase(action, example, name, _tool_run(tool, example), lambda: _as_json(action, example))


def _tool_run(tool: Tool, example: Example) -> Callable[[Servey, Authorization | None], Outcome]:
    return lambda app, caller: run_tool(app, tool, example, caller)


def _rest_run(
    action: Action, example: Example, trigger: WebTrigger
) -> Callable[[Servey, Authorization | None], Outcome]:
    return lambda app, caller: run_rest(app, action, example, trigger, caller)


def _graphql_run(kind: str, field: Field, example: Example) -> Callable[[Servey, Authorization | None], Outcome]:
    return lambda app, caller: run_field(app, kind, field, example, caller)


def _graphql_expected(field: Field, example: Example) -> Callable[[], Any]:
    return lambda: expected_data(field, example)


def _fields_with(fields: Fields, action: Action) -> list[tuple[str, Field]]:
    """Return the root fields of an action, each with its kind of operation."""
    roots = (("query", fields.queries), ("mutation", fields.mutations), ("subscription", fields.subscriptions))
    return [
        (kind, each)
        for kind, root in roots
        for each in root.values()
        if isinstance(each, Field) and each.action is action
    ]


def _shown(outcome: Outcome) -> str:
    if outcome.error is None:
        return repr(outcome.value)
    return f"the error '{outcome.error}'" + (f" ({outcome.detail})" if outcome.detail else "")


def _as_json(action: Action, example: Example) -> Any:
    """Return the example's result as JSON, whether it is given as Python objects or as JSON."""
    if action.result is None:
        return to_jsonable_python(example.result)
    if action.signature.streams:
        return [serialized(action, action.result.validate_python(item)) for item in example.result or ()]
    return serialized(action, action.result.validate_python(example.result, from_attributes=True))
