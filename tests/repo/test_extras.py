"""Each extra alone does what it promises, and names what it lacks, in an environment with nothing else."""

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.repo.snippets import blocks_of, commands_of
from tests.serving import ROOT, environment

pytestmark = pytest.mark.slow

ACTIONS = next(block for block in blocks_of(ROOT / "README.md") if block.file_name == "actions.py").text


def needed(extras: set[str]) -> set[str]:
    """The packages that Servey with these extras depends on, as they are installed here."""
    found: dict[str, set[str]] = {}
    wanted = [("servey", extras)]
    while wanted:
        name, more = wanted.pop()
        if name in found and more <= found[name]:
            continue
        found[name] = found.get(name, set()) | more
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in ("", *more)):
                wanted.append((requirement.name, set(requirement.extras)))
    return set(found) - {"servey"}


def link(package: Distribution, folder: Path) -> None:
    """Link a package's modules and metadata into a folder."""
    for file in package.files or ():
        first = file.parts[0]
        if first not in ("..", "__pycache__") and not (folder / first).exists():
            (folder / first).symlink_to(Path(str(package.locate_file(first))))


@pytest.fixture
def python(tmp_path):
    """Runs Python with Servey and the packages of some extras, and no others."""

    def run(extras: str, *words: str) -> "subprocess.CompletedProcess[str]":
        folder = tmp_path / "packages"
        folder.mkdir(exist_ok=True)
        for name in needed(set(extras.split(",")) if extras else set()):
            link(distribution(name), folder)
        (folder / "servey").symlink_to(ROOT / "servey")
        (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
        paths = os.pathsep.join([str(folder), str(tmp_path)])
        return subprocess.run(
            [sys.executable, "-S", *words],
            cwd=tmp_path,
            env=environment(PYTHONPATH=paths, PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run


SERVES = """
import asyncio, json
from servey import create_app
import actions

app = create_app(actions=[actions.say_hello])
sent = []

async def main():
    async def receive():
        return {"type": "http.request", "body": b""}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "GET", "path": "/actions/say-hello", "raw_path": b"/actions/say-hello",
             "query_string": b"name=World", "headers": [(b"host", b"x.example")], "http_version": "1.1", "scheme": "http",
             "root_path": "", "server": ("x.example", 80), "client": ("127.0.0.1", 1)}
    await app(scope, receive, send)

asyncio.run(main())
assert b"".join(message.get("body", b"") for message in sent) == b'"Hello World!"', sent
assert any(route.path == "/graphql" for route in app.routes) is HAS_GRAPHQL
"""


@pytest.mark.parametrize("extras", ["", "standard", "graphql", "jobs", "aws"])
def test_an_app_answers(python, extras):
    done = python(extras, "-c", SERVES.replace("HAS_GRAPHQL", str(extras == "graphql")))
    assert done.returncode == 0, done.stderr


def test_without_an_extra_the_command_line_names_it(python):
    done = python("", "-m", "servey", "actions")
    assert (done.returncode, 'needs the extra "standard"' in done.stderr) == (1, True), done.stderr


def test_standard_serves_calls_and_names_the_others(python):
    done = python("standard", "-m", "servey", "call", "say_hello", "name=You")
    assert done.stdout == '"Hello You!"\n', done.stderr


@pytest.mark.parametrize(("words", "extra"), [(["graphql-schema"], "graphql"), (["worker"], "jobs")])
def test_what_standard_lacks_is_named(python, words, extra):
    program = (
        "import os; os.environ['SERVEY_REDIS_URL'] = 'redis://127.0.0.1:1'; import sys; from servey.cli import run"
    )
    done = python("standard", "-c", f"{program}; run(sys.argv[1:])", *words)
    assert (done.returncode, f'extra "{extra}"' in done.stderr, "Traceback" in done.stderr) == (1, True, False), (
        done.stderr
    )


REFUSED = """
import asyncio
import servey
from servey import *

@action(triggers=CronTrigger("* * * * *"))
def due() -> int:
    return 1

@action(triggers=WebPageTrigger(path="/page"))
def page() -> int:
    return 1

@action(triggers=WEB_GET, cache_control=TtlCacheControl(30))
def cached() -> int:
    return 1

def told(use):
    try:
        use()
    except (ConfigError, ImportError) as error:
        print(error)

async def started(app):
    async with app.running():
        pass

made = lambda *actions, **more: create_app(actions=actions, **more)
told(lambda: made(due))
told(lambda: made(page))
told(lambda: made(cached))
told(lambda: made(channels=[webhook_event_channel("hook", "https://x.example", str)]))
told(lambda: asyncio.run(started(made(settings=Settings(env="dev", redis_url="redis://127.0.0.1:1")))))
told(lambda: __import__("servey.testing"))
told(lambda: servey.aws.build_handler(made()) if __import__("servey.aws") else None)
"""


def test_without_an_extra_each_feature_names_it(python):
    done = python("", "-c", REFUSED)
    assert done.returncode == 0, done.stderr
    named = [re.search(r'extra "(\w+)"', line)[1] for line in done.stdout.splitlines()]
    assert named == ["standard"] * 4 + ["jobs", "standard", "aws"], done.stdout


CACHES = """
from servey import WEB_GET, Settings, TtlCacheControl, action, create_app
from servey.testing import client

@action(triggers=WEB_GET, cache_control=TtlCacheControl(30))
def cached() -> int:
    return 1

with client(create_app(actions=[cached], settings=Settings(env="dev"))) as http:
    print(http.get("/actions/cached").json())
"""


CHANNELS = """
import asyncio
from servey import Settings, create_app, websocket_event_channel

news = websocket_event_channel("news", str)

async def publish():
    app = create_app(actions=[], channels=[news], settings=Settings(env="dev"))
    async with app.router.lifespan_context(app):
        await news.publish("a")

asyncio.run(publish())
"""


def test_channels_need_no_extra(python):
    done = python("", "-c", CHANNELS)
    assert done.returncode == 0, done.stderr


def test_standard_caches_results_in_memory(python):
    done = python("standard", "-c", CACHES)
    assert done.stdout == "1\n", done.stderr


def test_aws_has_a_handler(python):
    done = python("aws", "-c", "import actions; from servey.aws import build_handler; from servey import create_app\n"
                  "build_handler(create_app(actions=[actions.say_hello]))")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_readmes_output_is_that_of_its_own_install(python):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = re.search(r"pip install '\.\./servey\[([\w,]+)\]'", text)[1]
    shown = next(
        shown
        for block in blocks_of(ROOT / "README.md")
        if block.kind == "console"
        for typed, shown in commands_of(block)
        if typed == "servey actions"
    )
    done = python(extras, "-m", "servey", "actions")
    assert (done.stdout, done.stderr) == (shown, "")
