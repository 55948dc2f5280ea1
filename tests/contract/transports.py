"""How each transport makes the calls of the table: a function from a case to what came of it."""

import dataclasses
import html
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI

from servey import Authorization, Servey, Settings, WebPageTrigger, create_app
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.calls.invoke import invoke
from servey.calls.outcomes import Stream
from servey.core.actions import get_action
from servey.core.errors import ActionError
from servey.graphql.schema.fields import fields_of
from servey.graphql.schema.names import field_name
from servey.http.errors import as_action_error
from servey.testing import client
from tests.contract.cases import ACTIONS, BAD_TOKEN, Case
from tests.graphql.shapes import by_name, by_value, selection_of, type_text
from tests.serving import CommandLine, wait_until

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
SIGNER = JwtAuthorizer(OneKey(secret_key(SECRET)))
Outcome = tuple[Any, str | None]
Call = Callable[[Case], Outcome]


def _app(**settings: Any) -> Servey:
    return create_app(actions=ACTIONS, settings=Settings(env="dev", jwt_secret_key=SECRET, **settings))


def _token(case: Case) -> str | None:
    if case.caller is None:
        return None
    if isinstance(case.caller, Authorization):
        return SIGNER.sign(case.caller, lifetime=3600)
    assert case.caller == BAD_TOKEN
    return "not.a.token"


@contextmanager
def direct() -> Iterator[Call]:
    """`invoke`, as every transport calls it."""
    app = _app()

    async def main(case: Case) -> Any:
        async with app.runtime.lifespan(), app.runtime.context("test", token=_token(case)) as context:
            act = app.runtime.catalog[case.action]
            result = await invoke(act, case.params, context)
            if isinstance(result, Stream):
                return [act.result.dump_python(item, mode="json") async for item in result]
            return act.result.dump_python(result, mode="json")

    def call(case: Case) -> Outcome:
        try:
            return anyio.run(main, case), None
        except Exception as error:
            known = as_action_error(error)
            return None, known.code if isinstance(known, ActionError) else "internal"

    yield call


def _over_http(http: Any, prefix: str) -> Call:
    def call(case: Case) -> Outcome:
        token = _token(case)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        path = f"{prefix}/actions/{case.action.replace('_', '-')}"
        answer = http.post(path, json=case.params, headers=headers)
        if answer.status_code != 200:
            return None, answer.json().get("code", "invalid_params")
        if answer.headers["content-type"] == "application/jsonl":
            return [json.loads(line) for line in answer.text.splitlines()], None
        return answer.json(), None

    return call


@contextmanager
def rest() -> Iterator[Call]:
    with client(_app()) as http:
        yield _over_http(http, "")


@contextmanager
def rest_in_a_host() -> Iterator[Call]:
    host = FastAPI()
    _app().install(host, prefix="/ours")
    with client(host) as http:
        yield _over_http(http, "/ours")


@contextmanager
def command_line() -> Iterator[Call]:
    """`servey call`, in processes of its own."""

    processes = CommandLine()

    def call(case: Case) -> Outcome:
        token = _token(case)
        who = ["--token", token] if token else ["--anonymous"]
        words = ["call", case.action, "--event", json.dumps(case.params), *who]
        env = {"SERVEY_ACTION_PATH": "tests.contract.cases", "JWT_SECRET_KEY": SECRET}
        exit_code, output, errors = processes.run(*words, **env)
        lines = [json.loads(line) for line in output.splitlines()]
        if exit_code == 0:
            return (lines if case.action == "stream" else lines[0]), None
        code = errors.strip().rpartition(" (")[2].removesuffix(")")
        return None, code if errors.endswith(")\n") else "internal"

    yield call
    processes.close()


@contextmanager
def aws_lambda() -> Iterator[Call]:
    """The Lambda handler: requests of every gateway in turn; a stream, which no gateway passes on, by a direct call."""
    from servey.aws import build_handler
    from servey.aws.calls import CallFailed
    from tests.aws.gateways import GATEWAYS, Request, answer_of

    handler = build_handler(_app())
    turn = itertools.cycle(GATEWAYS.values())

    def call(case: Case) -> Outcome:
        if case.action == "stream":
            try:
                return handler({"servey": {"action": case.action, "params": case.params}}), None
            except CallFailed as error:
                return None, str(error).rpartition(" (")[2].removesuffix(")")
        token = _token(case)
        headers = (("content-type", "application/json"), *((("authorization", f"Bearer {token}"),) if token else ()))
        path = f"/actions/{case.action.replace('_', '-')}"
        request = Request("POST", path, headers, json.dumps(case.params).encode())
        answer = answer_of(handler(next(turn)(request)))
        if answer.status != 200:
            return None, json.loads(answer.body).get("code", "invalid_params")
        return json.loads(answer.body), None

    yield call
    handler.close()


@contextmanager
def page() -> Iterator[Call]:
    """Pages that take JSON and show the result's JSON; their error's code is in the page."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "result.j2").write_text("{{ model | tojson }}", encoding="utf-8")
        trigger = WebPageTrigger("POST", template_name="result.j2")
        actions = [dataclasses.replace(get_action(each), triggers=(trigger,)) for each in ACTIONS]
        settings = Settings(env="prod", jwt_secret_key=SECRET, template_path=folder)
        with client(create_app(actions=actions, settings=settings)) as http:

            def call(case: Case) -> Outcome:
                token = _token(case)
                http.cookies.clear()
                if token is not None:
                    http.cookies.set("servey_token", token)
                path = f"/{case.action.replace('_', '-')}"
                answer = http.post(path, json=case.params, headers={"Origin": "http://testserver"})
                if answer.status_code != 200:
                    return None, answer.text.partition('data-code="')[2].partition('"')[0]
                return json.loads(html.unescape(answer.text)), None

            yield call


@contextmanager
def graphql() -> Iterator[Call]:
    """Mutations over HTTP, a subscription as server-sent events; enums go by name there, and come back by value."""
    app = _app()
    fields = fields_of(app.runtime)

    def call(case: Case) -> Outcome:
        kind = "subscription" if case.action == "stream" else "mutation"
        name = field_name(case.action)
        field = (fields.subscriptions if kind == "subscription" else fields.mutations)[name]
        members = field.arguments.values()
        shown = {member.key: member for member in members if member.key in case.params or member.required}
        variables = {
            shown[key].name: by_name(value, shown[key].place) for key, value in case.params.items() if key in shown
        }
        declared = ", ".join(f"${each.name}: {type_text(each.place)}" for each in shown.values())
        passed = ", ".join(f"{each.name}: ${each.name}" for each in shown.values())
        query = f"{kind}{f'({declared})' if shown else ''} {{ {name}{f'({passed})' if shown else ''}{selection_of(field.place)} }}"
        token = _token(case)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        accept = "text/event-stream" if kind == "subscription" else "application/json"
        answer = http.post(
            "/graphql", json={"query": query, "variables": variables}, headers={"accept": accept, **headers}
        )
        assert answer.status_code == 200
        if kind == "mutation":
            return outcome(answer.json())
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        errors = [event for event in events if "errors" in event]
        return outcome(errors[0]) if errors else ([outcome(event)[0] for event in events], None)

    def outcome(answer: dict[str, Any]) -> Outcome:
        if "errors" in answer:
            return None, answer["errors"][0]["extensions"]["code"]
        ((name, value),) = answer["data"].items()
        field = next(each for each in fields.roots() if each.name == name)
        return by_value(value, field.place), None

    with client(app) as http:
        yield call


@contextmanager
def job() -> Iterator[Call]:
    """A request that wants its answer later, and what has become of its job then."""
    with client(_app()) as http:

        def call(case: Case) -> Outcome:
            token = _token(case)
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            path = f"/actions/{case.action.replace('_', '-')}"
            answer = http.post(path, json=case.params, headers={**headers, "Prefer": "respond-async"})
            if answer.status_code != 202:
                return None, answer.json().get("code", "invalid_params")
            # A token that nothing reads is nobody's, and so is its job.
            asking = {} if case.caller == BAD_TOKEN else headers
            job: dict[str, Any] = {}

            def ended() -> bool:
                job.update(http.get(answer.headers["location"], headers=asking).json())
                return job["state"] not in ("queued", "running")

            wait_until(ended, "the end of the job")
            return job["result"], job["error"] and job["error"]["code"]

        yield call


@contextmanager
def mcp() -> Iterator[Call]:
    """Tools, by the official client; it speaks the protocol's two generations in turn and checks output schemas."""
    from tests.mcp.agents import agent, code_of

    app = _app(mcp="web")
    turn = itertools.cycle(("legacy", "auto"))

    async def main(case: Case) -> Any:
        async with app.running(), agent(app, token=_token(case), mode=next(turn)) as client:
            return await client.call_tool(case.action, case.params)

    def call(case: Case) -> Outcome:
        try:
            result = anyio.run(main, case)
        except Exception as error:
            return None, code_of(error)
        if result.is_error:
            return None, code_of(result)
        structured = result.structured_content
        return structured["result"] if list(structured) == ["result"] else structured, None

    yield call


TRANSPORTS = {
    "direct": direct,
    "REST": rest,
    "REST in a host": rest_in_a_host,
    "page": page,
    "command line": command_line,
    "job": job,
    "Lambda": aws_lambda,
    "GraphQL": graphql,
    "MCP": mcp,
}
DIFFERENCES: dict[tuple[str, str], Outcome] = {
    # GraphQL's Int has 32 bits; the action would have to say BigInt.
    ("GraphQL", "add(a=11805916207174113034,b=1) by anonymous"): (None, "invalid_params"),
    # An MCP client connects first, and learns of a bad token then: there are guarded tools to list.
    ("MCP", "add(a=1) by bad token"): (None, "unauthenticated"),
}
"""What a transport may do otherwise, by the case's id."""

NOT_OFFERED = {("job", "stream")}
"""What a transport says that it has not, by the action's name."""


@contextmanager
def all_transports() -> Iterator[dict[str, Call]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(make()) for name, make in TRANSPORTS.items()}
