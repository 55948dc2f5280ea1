"""`servey call`, as a user types it: real processes, their output and their exit codes."""

import signal
import subprocess
import sys

import pytest

from servey import Authorization
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from tests.cli.project import SECRET
from tests.serving import environment, free_port, run, started


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
        (["page"], "as it is and after"),
        (["download"], "one two"),
    ],
)
def test_call(servey, project, words, output):
    assert servey(project, "call", *words) == (0, output, "")


def test_a_file_is_printed_as_it_is(servey, project):
    assert servey(project, "call", "own_source") == (0, (project / "actions.py").read_text(encoding="utf-8"), "")


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
        (["gone"], "It is gone", "the response has the status 410"),
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
        (["call", "say_hello", "nam=World"], "action 'say_hello' has no parameter 'nam'; it has name"),
        (["call", "page", "x.y=1"], "action 'page' has no parameter 'x'; it has none"),
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


APP = """
from servey import WEB_GET, ScopeAccessControl, Settings, action, create_app

@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
async def guarded() -> str:
    return "done"

servey_app = create_app(actions=[guarded], settings=Settings(env="dev"))
"""


@pytest.mark.parametrize("words", [["call", "guarded"], ["actions"], ["openapi", "-o", "-"]])
def test_commands_that_do_not_serve_do_not_say_how_to_log_in(words, tmp_path):
    (tmp_path / "main.py").write_text(APP, encoding="utf-8")
    done = run("-m", "servey", *words, "--app", "main:servey_app", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "log in" not in done.stdout + done.stderr


def test_a_server_in_development_says_how_to_log_in(tmp_path):
    (tmp_path / "main.py").write_text(APP, encoding="utf-8")
    port = free_port()
    with started(["-m", "uvicorn", "main:servey_app", "--port", str(port)], port, cwd=tmp_path) as server:
        text = server.log.read_text(encoding="utf-8")
    assert text.count("log in as 'root' with the password '") == 1
