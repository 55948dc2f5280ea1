"""The command `call`: run one action."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from servey.calls.ids import new_request_id
from servey.cli.output import AppPlace, fail, use_app
from servey.cli.streams import OutputError
from servey.core.errors import ConfigError
from servey.core.settings.env_file import read_env_file

if TYPE_CHECKING:
    from starlette.responses import Response

    from servey.project import Project


def _names(incomplete: str) -> list[str]:
    """Return the actions that a shell offers; a project with problems has none."""
    from servey.project import load_project

    try:
        read_env_file()
        catalog = load_project().required.runtime.catalog
    except ConfigError:
        return []
    return [each.name for each in catalog if each.name.startswith(incomplete) and "command" not in each.hidden]


def call(
    name: Annotated[str, typer.Argument(help="the action's name, as `servey actions` shows it", autocompletion=_names)],
    params: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="parameters, written as in a query string: repeat the name for a list, use dots for nested objects "
            "(p.x=1); objects, dicts and lists of objects may be JSON",
        ),
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="parameters as one JSON object, - to read it from standard input, @FILE from a file; "
            "NAME=VALUE overrides it",
        ),
    ] = None,
    token: Annotated[str | None, typer.Option(help="call with this bearer token")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="call without a token, with access control")] = False,
    app: AppPlace = None,
) -> None:
    """Call one action and print its result as JSON; a streaming action prints one line of JSON per item.

    Without --token or --anonymous you are the trusted operator: access control does not apply, and an injected
    Authorization is None. Errors are one line on standard error with exit code 1; bad usage exits with 2.
    """
    from servey.project import load_project

    use_app(app)
    project = load_project()
    runtime = project.required.runtime
    if token is not None and anonymous:
        fail("use either --token or --anonymous, not both", 2)
    if name not in runtime.catalog:
        from difflib import get_close_matches

        close = get_close_matches(name, [action.name for action in runtime.catalog], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; `servey actions` lists them"
        fail(f"there is no action '{name}'{hint}", 2)
    action = runtime.catalog[name]
    if "command" in action.hidden:
        fail(f"action '{name}' ({action.place}) is hidden from the command line", 2)
    event_params = _event(event)
    try:
        given = {**event_params, **_named(action, params or [])}
        status = asyncio.run(_call(project, action, given, token, trusted=token is None and not anonymous))
    except (ConfigError, BrokenPipeError, OutputError):
        raise
    except Exception as error:
        from servey.http.errors import shown_error

        known, is_unexpected = shown_error(error, runtime, new_request_id(), "cli")
        fail(
            f"{type(error).__name__}: {_one_line(error)}" if is_unexpected else f"{_one_line(known)} ({known.code})", 1
        )
    if status >= 400:
        fail(f"the response has the status {status}", 1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "no text"


def _event(given: str | None) -> dict[str, Any]:
    """Return the parameters in ``--event``: JSON, ``-`` for standard input, ``@file`` for a file."""
    if given is None:
        return {}
    text: str | bytes = given
    try:
        if given == "-":
            text = sys.stdin.buffer.read() if sys.stdin is not None else b""
        elif given.startswith("@"):
            text = Path(given[1:]).read_bytes()
    except OSError as error:
        fail(f"--event {given} cannot be read: {error.strerror}", 2)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"--event is not JSON: {error}", 2)
    if not isinstance(value, dict):
        fail("--event must be a JSON object", 2)
    return value


def _named(action: Any, words: list[str]) -> dict[str, Any]:
    from servey.routers.rest.query import nest, shapes_of

    shapes = shapes_of(action)
    pairs: list[tuple[str, Any]] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            fail(f"'{word}' is not a parameter; write name=value", 2)
        name = key.partition(".")[0]
        if key not in shapes and name not in shapes:
            known = f"it has {', '.join(shapes)}" if shapes else "it has none"
            fail(f"action '{action.name}' has no parameter '{name}'; {known}", 2)
        shape = shapes.get(key)
        value: Any = text
        if shape is not None and (shape.fields or shape.unfit() is not None):
            try:
                value = json.loads(text)
            except ValueError:
                value = text
            if shape.is_list and isinstance(value, list):
                pairs += [(key, item) for item in value]
                continue
        pairs.append((key, value))
    return nest(pairs, shapes)


async def _call(project: Project, action: Any, given: dict[str, Any], token: str | None, *, trusted: bool) -> int:
    """Call the action and print its result. Return its status, which only a Response can have other than 200."""
    from starlette.responses import Response

    from servey.calls.invoke import invoke
    from servey.calls.outcomes import Stream
    from servey.jobs.service import jobs_and_schedules_here, jobs_here

    runtime = project.required.runtime
    injection = runtime.plan(action).injection
    if injection is not None and injection.requests_needed:
        raise ConfigError(f"action '{action.name}' can only be called over HTTP: it needs {injection.requests_needed}")
    # This process runs the jobs that the call enqueues, but no schedules.
    runtime.services[:] = [jobs_here if each is jobs_and_schedules_here else each for each in runtime.services]
    async with project.lifespan(), runtime.lifespan(), runtime.context("cli", token=token, trusted=trusted) as context:
        result = await invoke(action, given, context)
        if isinstance(result, Response):
            await _print_response(result)
            return result.status_code
        elif isinstance(result, Stream):
            async for item in result:
                _print(action.result.serializer.to_json(item, by_alias=True))
        else:
            _print(action.result.serializer.to_json(result, by_alias=True))
    return 200


async def _print_response(response: Response) -> None:
    """Print the bytes of a response as they are, so that a file can be redirected; a terminal gets a last newline."""
    from servey.calls.outcomes import write_body

    last = b""

    def write(chunk: bytes) -> None:
        nonlocal last
        last = chunk[-1:]
        _print_bytes(chunk)

    await write_body(response, write)
    if last != b"\n" and sys.stdout.isatty():
        write(b"\n")


def _print(line: bytes) -> None:
    _print_bytes(line + b"\n")


def _print_bytes(chunk: bytes) -> None:
    try:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from None
