"""Calling one action."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from servey.cli.output import fail
from servey.errors import ConfigError


def call(
    name: Annotated[str, typer.Argument(help="the action's name, as `servey actions` shows it")],
    params: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="parameters, written as in a query string: lists repeat their name, dots reach into objects "
            "(p.x=1); an object, a dict or a list of objects may be given as JSON",
        ),
    ] = None,
    event: Annotated[str | None, typer.Option(help="parameters as one JSON object; NAME=VALUE wins over it")] = None,
    token: Annotated[str | None, typer.Option(help="call as the bearer of this token")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="call as somebody without a token")] = False,
) -> None:
    """Call one action and print its result as JSON; a streaming one prints a line of JSON for each item.

    Without --token or --anonymous you are the trusted operator: access rules do not apply, and there is no
    authorization to inject. An error is one line on standard error, and the exit code is 1; bad usage is 2.
    """
    from servey.app import build_runtime
    from servey.settings import Settings

    runtime = build_runtime(Settings())
    if token is not None and anonymous:
        fail("--token and --anonymous exclude each other", 2)
    if name not in runtime.catalog:
        from difflib import get_close_matches

        close = get_close_matches(name, [action.name for action in runtime.catalog], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; `servey actions` lists them"
        fail(f"there is no action '{name}'{hint}", 2)
    action = runtime.catalog[name]
    given = {**_event(event), **_named(action, params or [])}
    try:
        asyncio.run(_call(runtime, action, given, token, trusted=token is None and not anonymous))
    except (ConfigError, BrokenPipeError):
        raise
    except Exception as error:
        from servey.web import as_action_error

        known = as_action_error(error)
        fail(f"{_one_line(known)} ({known.code})" if known else f"{type(error).__name__}: {_one_line(error)}", 1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "no text"


def _event(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        fail(f"--event is not JSON: {error}", 2)
    if not isinstance(value, dict):
        fail("--event is not a JSON object", 2)
    return value


def _named(action: Any, words: list[str]) -> dict[str, Any]:
    from servey.routers.query import nest, shapes_of

    shapes = shapes_of(action)
    pairs: list[tuple[str, Any]] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            fail(f"'{word}' is no parameter; write name=value", 2)
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


async def _call(runtime: Any, action: Any, given: dict[str, Any], token: str | None, *, trusted: bool) -> None:
    from starlette.responses import Response

    from servey.invoke import Stream, invoke
    from servey.jobs.service import jobs_here

    injection = runtime.plan(action).injection
    if injection is not None and injection.requests_needed:
        raise ConfigError(f"action '{action.name}' can only be called over HTTP: it needs {injection.requests_needed}")
    runtime.services.append(jobs_here)
    async with runtime.lifespan(), runtime.context("cli", token=token, trusted=trusted) as context:
        result = await invoke(action, given, context)
        if isinstance(result, Response):
            _print(bytes(result.body))
        elif isinstance(result, Stream):
            async for item in result:
                _print(action.result.serializer.to_json(item, by_alias=True))
        else:
            _print(action.result.serializer.to_json(result, by_alias=True))


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
