"""The command line, as a user types it: real processes, their output and their exit codes."""

import json
import platform
import signal
import subprocess
import sys

import pytest

from servey import Authorization
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from tests.serving import CommandLine, environment, run

SECRET = "a-secret-of-more-than-32-bytes-for-tests"

ACTIONS = '''
import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated
from fastapi import Depends, Request
from starlette.responses import PlainTextResponse
from servey import *

@dataclass
class Point:
    x: int
    y: int = 0

@action(triggers=(WEB_GET, WEB_POST))
def say_hello(name: str) -> str:
    """Greet a user!"""
    return f"Hello {name}!"

@action
async def everything(p: Point, tags: list[str] = [], data: dict[str, int] = {}, points: list[Point] = [], n: int | None = None) -> dict:
    return {"p": p, "tags": tags, "data": data, "points": points, "n": n, "price": Decimal("1.10")}

@action
async def count(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number
    if upto > 2:
        raise Conflict("too far")

@action
async def forever() -> AsyncIterator[str]:
    try:
        yield "begun"
        await asyncio.sleep(3600)
    finally:
        print("closed", flush=True)

@action
def fail(how: str) -> None:
    raise NotFound("no such\\nthing") if how == "known" else ValueError("bad\\nluck")

@action(access_control=ScopeAccessControl("root"))
def only_for_root() -> str:
    return "secret data"

@action
def who(authorization: Authorization | None, context: Context) -> list[str | None]:
    return [authorization.subject_id if authorization else None, context.via]

@action
def must_know(authorization: Authorization) -> str | None:
    return authorization.subject_id

@action(triggers=WEB_GET)
def needs_request(request: Request) -> str:
    return request.url.path

def opened():
    print("opened", flush=True)
    yield 7
    print("closed", flush=True)

@action
def uses(number: Annotated[int, Depends(opened)]) -> int:
    return number

@action
def page() -> PlainTextResponse:
    return PlainTextResponse("as it is")
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def servey():
    processes = CommandLine()

    def command(project, *words, **env):
        code, output, errors = processes.run(*words, cwd=project, **{"JWT_SECRET_KEY": SECRET, **env})
        assert "Traceback" not in errors, errors
        return code, output, errors

    yield command
    processes.close()


def token(**options):
    return JwtAuthorizer(OneKey(secret_key(SECRET))).sign(Authorization("ada", **options), lifetime=36_000)


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["say_hello", "name=World"], '"Hello World!"\n'),
        (["say_hello", "name=a=b c"], '"Hello a=b c!"\n'),
        (["say_hello", "name=5"], '"Hello 5!"\n'),
        (["say_hello", "--event", '{"name": "World"}'], '"Hello World!"\n'),
        (["say_hello", "--event", '{"name": "World"}', "name=You"], '"Hello You!"\n'),
        (
            ["everything", "p.x=1", "tags=a", "tags=b"],
            '{"p":{"x":1,"y":0},"tags":["a","b"],"data":{},"points":[],"n":null,"price":"1.10"}\n',
        ),
        (
            ["everything", 'p={"x": 1}', 'data={"k": 2}', 'points=[{"x": 3}]', "n=4"],
            '{"p":{"x":1,"y":0},"tags":[],"data":{"k":2},"points":[{"x":3,"y":0}],"n":4,"price":"1.10"}\n',
        ),
        (["count", "upto=2"], "0\n1\n"),
        (["only_for_root"], '"secret data"\n'),
        (["who"], '[null,"cli"]\n'),
        (["uses"], "opened\n7\nclosed\n"),
        (["page"], "as it is\n"),
    ],
)
def test_call(servey, project, words, output):
    assert servey(project, "call", *words) == (0, output, "")


@pytest.mark.parametrize(
    ("words", "output", "error"),
    [
        (["say_hello"], "", "name: Field required (invalid_params)"),
        (["everything", "p.x=z", "n=q"], "", "p.x: Input should be a valid integer"),
        (["fail", "how=known"], "", "no such thing (not_found)"),
        (["fail", "how=other"], "", "ValueError: bad luck"),
        (["count", "upto=3"], "0\n1\n2\n", "too far (conflict)"),
        (["only_for_root", "--anonymous"], "", "Not authenticated (unauthenticated)"),
        (["only_for_root", "--token", token()], "", "Forbidden (forbidden)"),
        (["only_for_root", "--token", "nonsense"], "", "Not authenticated (unauthenticated)"),
        (["must_know"], "", "This action requires an authorization; send a token (unauthenticated)"),
        (
            ["needs_request"],
            "",
            "action 'needs_request' can only be called over HTTP: it needs the request, as 'request'",
        ),
    ],
)
def test_a_call_that_fails_is_one_line_and_exit_code_1(servey, project, words, output, error):
    code, shown, errors = servey(project, "call", *words)
    assert (code, shown, errors.count("\n")) == (1, output, 1)
    assert errors.startswith(f"error: {error}")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["call", "say_helo"], "there is no action 'say_helo'; did you mean 'say_hello'?"),
        (["call", "say_hello", "World"], "'World' is not a parameter; write name=value"),
        (["call", "say_hello", "--event", "{"], "--event is not JSON"),
        (["call", "say_hello", "--event", "[1]"], "--event must be a JSON object"),
        (["call", "who", "--anonymous", "--token", "x"], "use either --token or --anonymous, not both"),
        (["call"], "Missing argument '"),
        (["nonsense"], "No such command 'nonsense'"),
        (["call", "who", "--nonsense"], "No such option: --nonsense"),
        (["--run=nothing"], "--run=nothing: use --run=server"),
        (["--run=action"], "--run=action: use"),
    ],
)
def test_bad_usage_is_exit_code_2(servey, project, words, error):
    code, output, errors = servey(project, *words)
    assert (code, output) == (2, "")
    assert error in errors


def test_a_token_is_verified(servey, project):
    assert servey(project, "call", "must_know", "--token", token())[1] == '"ada"\n'
    assert servey(project, "call", "only_for_root", "--token", token(scopes=frozenset({"root"})))[0] == 0


def test_the_operator_needs_no_key(project):
    assert run("-m", "servey", "call", "only_for_root", cwd=project).stdout == '"secret data"\n'


def test_an_interrupt_closes_a_stream(project):
    command = [sys.executable, "-m", "servey", "call", "forever"]
    with subprocess.Popen(
        command,
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # A shell has what runs in its background ignore interrupts, and so do the tests that run there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == '"begun"\n'
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=5)
    assert (process.returncode, output, errors) == (130, "closed\n", "")


def test_actions_are_listed(servey, project):
    code, output, _ = servey(project, "actions")
    lines = output.splitlines()
    assert code == 0
    assert lines[0].split() == ["ACTION", "EXPOSED", "AT", "ACCESS", "SUMMARY"]
    rows = {line.split()[0]: line for line in lines[1:] if not line.startswith(" ")}
    assert "GET /actions/say-hello" in rows["say_hello"]
    assert "Greet a user!" in rows["say_hello"]
    assert any(line.strip() == "POST /actions/say-hello" for line in lines)
    assert "scope root" in rows["only_for_root"]
    assert "any valid token" in rows["must_know"]
    assert any("it needs the request, as 'request'" in line for line in lines)


def test_actions_for_programs(servey, project):
    rows = {row["name"]: row for row in json.loads(servey(project, "actions", "--json")[1])}
    assert rows["say_hello"]["places"] == [
        "GET /actions/say-hello",
        "POST /actions/say-hello",
        "GraphQL query sayHello",
        "GraphQL mutation sayHello",
    ]
    assert rows["say_hello"]["defined_at"] == "actions.py:16"


def test_the_compiled_code_of_an_action(servey, project):
    code, output, errors = servey(project, "actions", "--source", "say_hello")
    assert (code, errors) == (0, "")
    get, post = output.split("# POST /actions/say-hello\n")
    assert get.startswith("# GET /actions/say-hello\nasync def serve(scope, receive, send, ")
    assert post.startswith("async def serve(")
    compile(output, "generated", "exec")


def test_a_route_that_is_not_compiled_says_why(servey, tmp_path):
    (tmp_path / "actions.py").write_text(STREAMED, encoding="utf-8")
    assert servey(tmp_path, "actions", "--source", "count") == (
        0,
        "# GET /actions/count\n# not compiled: it is a stream\n\n",
        "",
    )


EXPLAINED = """
from collections.abc import AsyncIterator
from fastapi import Depends
from servey import WEB_GET, WEB_POST, TtlCacheControl, action

@action(triggers=(WEB_GET, WEB_POST), cache_control=TtlCacheControl(60))
async def kept(n: int = 0) -> int:
    return n

@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def guarded(n: int = Depends(lambda: 1)) -> int:
    return n

@action(triggers=WEB_GET)
async def count() -> AsyncIterator[int]:
    yield 1
"""
FORM = "  compiled; generic for HEAD, for requests with Prefer, and for those with invalid input\n"


@pytest.mark.parametrize(
    ("name", "explained"),
    [
        (
            "kept",
            f"GET /actions/kept\n{FORM}  cached results: kept as bytes\nPOST /actions/kept\n{FORM}"
            "  cached results: encoded for each request: only a GET is recognized by its address\n",
        ),
        (
            "guarded",
            f"GET /actions/guarded\n{FORM}"
            "  cached results: encoded for each request: it has dependencies, which run for each request\n",
        ),
        ("count", "GET /actions/count\n  generic: it is a stream\n"),
    ],
)
def test_how_an_action_is_served_is_explained(servey, tmp_path, name, explained):
    (tmp_path / "actions.py").write_text(EXPLAINED, encoding="utf-8")
    assert servey(tmp_path, "actions", "--explain", name) == (0, explained, "")


def test_an_explanation_needs_a_route(servey, project):
    code, output, errors = servey(project, "actions", "--explain", "nothing")
    assert (code, output) == (1, "")
    assert errors.startswith("error: no action 'nothing' has a REST route")


STREAMED = """
from collections.abc import AsyncIterator
from servey import WEB_GET, action

@action(triggers=WEB_GET)
async def count() -> AsyncIterator[int]:
    yield 1
"""


def test_the_code_of_an_action_without_a_route(servey, project):
    code, output, errors = servey(project, "actions", "--source", "nothing")
    assert (code, output) == (1, "")
    assert errors.startswith("error: no action 'nothing' has a REST route; these have: ")
    assert "say_hello" in errors


def test_openapi_goes_where_it_is_told(servey, project, tmp_path):
    code, output, _ = servey(project, "openapi", "-o", "-")
    document = json.loads(output)
    assert (code, "/actions/say-hello" in document["paths"]) == (0, True)
    target = tmp_path / "api.json"
    assert servey(project, "openapi", "--output", str(target)) == (0, "", f"wrote {target}\n")
    assert target.read_text(encoding="utf-8") == output  # the same every time
    code, _, errors = servey(project, "openapi", "-o", str(tmp_path / "no" / "folder.json"))
    assert (code, "cannot be written" in errors) == (1, True)


def test_asyncapi_goes_where_it_is_told(servey, project, tmp_path):
    (project / "event_channels.py").write_text(
        'from servey import websocket_event_channel\n\nmessenger = websocket_event_channel("messenger", str)\n',
        encoding="utf-8",
    )
    code, output, _ = servey(project, "asyncapi", "-o", "-")
    assert (code, "messenger" in json.loads(output)["channels"]) == (0, True)
    target = tmp_path / "events.json"
    assert servey(project, "asyncapi", "-o", str(target)) == (0, "", f"wrote {target}\n")
    assert target.read_text(encoding="utf-8") == output


@pytest.mark.parametrize(
    "words", [["--help"], ["call", "--help"], ["dev", "--help"], ["run", "--help"], ["new", "--help"]]
)
def test_help(servey, project, words):
    code, output, _ = servey(project, *words)
    assert (code, "Usage: servey" in output) == (0, True)


def test_version(servey, project):
    lines = servey(project, "--version")[1].splitlines()
    assert lines[:2] == ["servey 6.0.0", f"python {platform.python_version()}"]
    assert {"fastapi", "pydantic", "uvicorn", "strawberry-graphql", "arq"} <= {line.split()[0] for line in lines}


def test_problems_of_the_project_come_without_a_traceback(servey, tmp_path):
    (tmp_path / "actions.py").write_text("import nowhere_at_all\n", encoding="utf-8")
    for words in (["actions"], ["call", "x"], ["openapi", "-o", "-"], ["run"]):
        code, output, errors = servey(tmp_path, *words)
        assert (code, output) == (1, "")
        assert "error: module 'actions' cannot be imported (actions.py:1): ModuleNotFoundError" in errors


def test_help_and_calls_leave_the_server_alone(project):
    program = (
        "import sys\n"
        "from servey import cli\n"
        "try:\n    cli.run(sys.argv[1:])\n"
        "except SystemExit:\n    print([name for name in ('uvicorn', 'strawberry', 'arq', 'boto3') if name in sys.modules])\n"
    )
    for words in (["--help"], ["call", "say_hello", "name=x"]):
        done = run("-c", program, *words, cwd=project)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_new_makes_a_project_that_runs_and_whose_tests_pass(servey, tmp_path):
    code, output, _ = servey(tmp_path, "new", "shop")
    assert (code, "servey dev" in output, "python -m unittest discover -s tests" in output) == (0, True, True)
    folder = tmp_path / "shop"
    assert servey(folder, "call", "say_hello", "name=You")[1] == '"Hello You!"\n'
    done = run("-m", "unittest", "discover", "-s", "tests", cwd=folder)
    assert (done.returncode, "Ran 5 tests" in done.stderr) == (0, True), done.stderr
    code, _, errors = servey(tmp_path, "new", "shop")
    assert (code, errors) == (1, "error: shop exists and is not an empty folder\n")


def test_doctor_shows_settings_without_secrets(servey, tmp_path):
    (tmp_path / "actions.py").write_text(
        "from servey import *\n@action(access_control=ALLOW_NONE)\ndef shut() -> int:\n    return 1\n", encoding="utf-8"
    )
    code, output, errors = servey(
        tmp_path, "doctor", JWT_SECRET_KEY="a-secret-of-more-than-32-bytes-for-tests", SERVER_PORT="8001"
    )
    assert (code, errors) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line}
    assert rows["SERVER_PORT"] == ["environment", "8001"]
    assert rows["JWT_SECRET_KEY"] == ["environment", "(set)"]
    assert rows["SERVEY_HOST"] == ["default", "127.0.0.1"]
    assert "a-secret" not in output


def test_doctor_finds_what_may_not_serve(tmp_path):
    (tmp_path / "actions.py").write_text(
        "from servey import *\n@action(access_control=ALLOW_NONE)\ndef shut() -> int:\n    return 1\n", encoding="utf-8"
    )
    done = run("-m", "servey", "doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "action 'shut' (actions.py:2): is guarded and there is no key" in done.stdout


SECRETS = {
    "SERVEY_REDIS_URL": "redis://me:hunter2@127.0.0.1:1/0",
    "SERVEY_JWKS_URL": "https://me:hun@ter2@issuer.example/keys?token=hunter2",
    "SERVEY_QUEUE_URL": "https://me:hunter2@queue.example/",
}


@pytest.mark.parametrize("command", ["doctor", "actions"])
def test_no_password_of_an_address_is_shown(tmp_path, command):
    (tmp_path / "actions.py").write_text(
        "from servey import action, FixedRateTrigger\n@action(triggers=FixedRateTrigger(5))\ndef beat() -> None: ...\n",
        encoding="utf-8",
    )
    for changes in (SECRETS, {"SERVEY_REDIS_URL": "sqs://me:hunter2@x", "SERVEY_JWKS_URL": "ftp://me:hunter2@x"}):
        done = run("-m", "servey", command, cwd=tmp_path, **changes)
        assert "ter2" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_no_content_of_a_file_is_shown(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2", encoding="utf-8")
    for name in ("SERVEY_PORT", "SERVEY_API_TITLE"):
        done = run("-m", "servey", "doctor", cwd=tmp_path, **{f"{name}_FILE": str(secret)})
        assert "hunter2" not in done.stdout + done.stderr, name
