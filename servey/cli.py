"""The command line: serve a project, call its actions, list them, describe them, begin a new one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

try:
    import typer
except ImportError:
    sys.exit('The command line needs Servey\'s extra "standard"; in a clone: pip install -e ".[standard]"')

from servey import __version__
from servey.errors import ConfigError

cli = typer.Typer(
    name="servey",
    help="Serve, call and describe the actions of the project in this folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

App = Annotated[str | None, typer.Argument(help="module:attribute of an app; by default the actions that are found")]
Host = Annotated[str | None, typer.Option(help="address to listen on [default: SERVEY_HOST, 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="port to listen on [default: SERVEY_PORT, 8000]")]
Output = Annotated[str, typer.Option("--output", "-o", help="file to write; - is standard output")]


def main() -> None:
    """Runs the command that the process was started with."""
    run(sys.argv[1:])


def run(words: list[str]) -> NoReturn:
    """Runs one command and ends the process with its exit code."""
    try:
        cli(_modern(words), prog_name="servey")
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _modern(words: list[str]) -> list[str]:
    """Today's spelling of ``--run=server|action|openapi --action=... --event=...``."""
    options: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            options[name] = value
    if "run" not in options:
        return words
    what = options["run"]
    if what == "server":
        return ["dev"]
    if what == "action" and options.get("action"):
        return ["call", options["action"], *(["--event", options["event"]] if "event" in options else [])]
    if what == "openapi":
        return ["openapi"]
    _fail(f"--run={what}: use --run=server, --run=openapi, or --run=action with --action=NAME", 2)


def _fail(text: str, code: int) -> NoReturn:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"servey {__version__}")
        raise typer.Exit()


@cli.callback()
def servey(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Serve, call and describe the actions of the project in this folder."""


@cli.command()
def dev(app: App = None, host: Host = None, port: Port = None) -> None:
    """Serve for development: reload on change, documentation pages, a key of its own for tokens."""
    _server().serve_dev(app, host, port)


@cli.command(name="run")
def run_server(
    app: App = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, help="server processes")] = 1,
) -> None:
    """Serve for production; refuses settings that are not safe."""
    _server().serve(app, host, port, workers)


def _server() -> Any:
    try:
        from servey import server
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        _fail('serving needs Servey\'s extra "standard"; in a clone: pip install -e ".[standard]"', 1)
    return server


@cli.command()
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
        _fail("--token and --anonymous exclude each other", 2)
    if name not in runtime.catalog:
        from difflib import get_close_matches

        close = get_close_matches(name, [action.name for action in runtime.catalog], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; `servey actions` lists them"
        _fail(f"there is no action '{name}'{hint}", 2)
    action = runtime.catalog[name]
    given = {**_event(event), **_named(action, params or [])}
    try:
        asyncio.run(_call(runtime, action, given, token, trusted=token is None and not anonymous))
    except (ConfigError, BrokenPipeError):
        raise
    except Exception as error:
        from servey.web import as_action_error

        known = as_action_error(error)
        _fail(f"{_one_line(known)} ({known.code})" if known else f"{type(error).__name__}: {_one_line(error)}", 1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "no text"


def _event(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        _fail(f"--event is not JSON: {error}", 2)
    if not isinstance(value, dict):
        _fail("--event is not a JSON object", 2)
    return value


def _named(action: Any, words: list[str]) -> dict[str, Any]:
    from servey.routers.query import nest, shapes_of

    shapes = shapes_of(action)
    pairs: list[tuple[str, Any]] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            _fail(f"'{word}' is no parameter; write name=value", 2)
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

    injection = runtime.plan(action).injection
    if injection is not None and injection.requests_needed:
        raise ConfigError(f"action '{action.name}' can only be called over HTTP: it needs {injection.requests_needed}")
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


@cli.command()
def actions(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """List every action: where it is exposed, who may call it, and why it is not where it is not."""
    from servey.app import build_runtime, exposure_of
    from servey.settings import Settings

    runtime = build_runtime(Settings())
    rows = [exposure_of(runtime, action) for action in runtime.catalog]
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
        return
    table = [("ACTION", "EXPOSED AT", "ACCESS", "SUMMARY")]
    for row in rows:
        first, *others = [*row.places, *(f"({reason})" for reason in row.absences)] or ["-"]
        table.append((row.name, first, row.access, row.summary))
        table += [("", other, "", "") for other in others]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    for line in table:
        cells = [line[column].ljust(widths[column]) for column in range(3)]
        print("  ".join([*cells, line[3]]).rstrip())


@cli.command()
def openapi(output: Output = "openapi.json") -> None:
    """Write the OpenAPI document of the project."""
    from servey.app import create_app

    _write(output, json.dumps(create_app().openapi(), indent=2, ensure_ascii=False) + "\n")


def _write(output: str, text: str) -> None:
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        _fail(f"{output} can not be written: {error.strerror}", 1)
    print(f"wrote {output}", file=sys.stderr)


@cli.command()
def new(folder: Annotated[Path, typer.Argument(help="a folder that is empty or not there yet")]) -> None:
    """Begin a small project that runs and whose tests pass."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _fail(f"{folder} is there already and is not an empty folder", 1)
    template = Path(__file__).parent / "new_project"
    for source in sorted(template.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            target = folder / source.relative_to(template).with_suffix("" if source.suffix == ".txt" else source.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    print(f"Made a project in {folder}. Next:\n  cd {folder}\n  servey dev\n  python -m pytest")
