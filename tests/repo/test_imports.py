"""`import servey` is cheap, and gives what it says."""

import sys

import servey
from tests.serving import run

HEAVY = (
    "fastapi",
    "starlette",
    "strawberry",
    "arq",
    "redis",
    "fastapi_cache",
    "jinja2",
    "boto3",
    "uvicorn",
    "typer",
    "jose",
    "pydantic_settings",
    "pydantic.v1",
)

PUBLIC = {
    "AuthorizationError",
    "EventFilterABC",
    "Parts",
    "current_context",
    "cancel",
    "enqueue",
    "Limit",
    "ALLOW_ALL",
    "ALLOW_NONE",
    "WEB_GET",
    "WEB_POST",
    "ActionError",
    "Authorization",
    "BatchInvoker",
    "ConfigError",
    "Conflict",
    "Context",
    "CronTrigger",
    "Cursor",
    "ErrorFacts",
    "Example",
    "FixedRateTrigger",
    "Forbidden",
    "Group",
    "MCP_PROMPT",
    "MCP_RESOURCE",
    "MCP_TOOL",
    "McpTrigger",
    "NotFound",
    "Page",
    "Redirect",
    "Retry",
    "ScopeAccessControl",
    "SecureHashCacheControl",
    "Servey",
    "ServeyError",
    "Settings",
    "TimestampCacheControl",
    "TtlCacheControl",
    "WebPageResponse",
    "WebPageTrigger",
    "WebTrigger",
    "WebTriggerMethod",
    "action",
    "background_action_channel",
    "create_app",
    "invalidate",
    "issue_token",
    "publish",
    "webhook_event_channel",
    "websocket_event_channel",
}


def test_it_brings_in_nothing_heavy():
    program = f"import sys, servey\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert run("-c", program).stdout == "[]\n"


def test_it_imports_nothing_before_a_name_is_used():
    program = "import sys, servey\nprint(sorted(name for name in sys.modules if name.partition('.')[0] in ('servey', 'pydantic')))"
    assert run("-c", program).stdout == "['servey', 'servey.core', 'servey.core.version', 'servey.seed_imports']\n"


def test_any_name_can_be_the_first_that_is_used():
    """No module relies on another one that somebody has imported before."""
    program = (
        "import os, sys, servey\nfor name in sys.argv[1:]:\n    pid = os.fork()\n    if pid == 0:\n"
        "        try:\n            getattr(servey, name)\n        except BaseException as error:\n"
        "            print(name, error, flush=True)\n        os._exit(0)\n    os.waitpid(pid, 0)\n"
    )
    modules = {
        getattr(servey, name).__module__: name for name in PUBLIC if hasattr(getattr(servey, name), "__module__")
    }
    assert len(modules) > 12
    assert run("-c", program, *modules.values()).stdout == ""


def test_defining_actions_brings_in_nothing_heavy_either():
    program = (
        "import sys\nfrom servey import action, WEB_GET, Authorization, Example\n"
        "@action(triggers=WEB_GET, examples=(Example('a'),))\n"
        "def act(n: int, authorization: Authorization | None) -> int:\n    return n\n"
        "act.servey_action.params, act.servey_action.result\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run("-c", program).stdout == "[]\n"


def test_the_public_names():
    assert set(servey.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(servey, name) is not None


def test_the_package_says_its_version():
    from importlib.metadata import version

    assert servey.__version__ == version("servey")


def test_modules_do_nothing_when_imported(tmp_path):
    program = (
        "import importlib, os, pkgutil, servey, sys, threading\n"
        "before = dict(os.environ)\n"
        "for info in pkgutil.walk_packages(servey.__path__, 'servey.'):\n"
        "    if 'new_project' not in info.name:\n        importlib.import_module(info.name)\n"
        "print(threading.active_count(), dict(os.environ) == before, os.listdir('.'))\n"
    )
    done = run("-c", program, cwd=tmp_path)
    assert done.stdout == "1 True []\n", done.stderr


def test_python_is_recent_enough():
    assert sys.version_info >= (3, 11)


ACTIONS = """
from servey import WEB_GET, action

@action(triggers=WEB_GET)
def say_hello(name: str) -> str:
    return name
"""
COLD = """
import sys
from servey.aws import handler
event = {"version": "2.0", "rawPath": "/actions/say-hello", "rawQueryString": "name=x", "headers": {},
         "requestContext": {"http": {"method": "GET", "path": "/actions/say-hello"}, "stage": "$default"}}
assert handler(event)["body"] == '"x"'
"""
MOST_AT_A_COLD_START = 166
"""How many modules of Servey a cold start imports at most: each takes a third of a millisecond."""
NOT_AT_A_COLD_START = (
    "argon2",
    "boto3",
    "jinja2",
    "cryptography",
    "graphql",
    "httpx",
    "jose",
    "multiprocessing",
    "pydantic.v1",
    "redis",
    "strawberry",
    "typer",
    "uvicorn",
    "websockets",
    "servey.aws.appsync",
    "servey.aws.bus",
    "servey.aws.queue",
    "servey.core.settings.prefixed",
    "servey.exposure",
    "servey.mcp",
    "servey.jobs.memory",
    "servey.jobs.scheduler",
    "servey.routers.docs",
    "servey.routers.index",
    "servey.routers.login",
    "servey.routers.pages.routes",
    "servey.ws.frames",
)


def test_a_cold_start_on_lambda_imports_only_what_the_first_request_needs(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    # The measurement of coverage has imported modules before.
    program = (
        f"import sys\nbefore = set(sys.modules)\n{COLD}\n"
        f"print([name for name in {NOT_AT_A_COLD_START!r} if name in sys.modules.keys() - before])\n"
        "print(sum(name.partition('.')[0] == 'servey' for name in sys.modules))"
    )
    done = run("-c", program, cwd=tmp_path)
    assert done.stdout.startswith("[]\n"), done.stderr
    assert int(done.stdout.splitlines()[1]) <= MOST_AT_A_COLD_START


def test_a_cold_start_on_lambda_leaves_the_models_of_openapi_for_the_document(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    program = (
        f"{COLD}\nfrom fastapi.openapi.models import OpenAPI, Operation\n"
        "from pydantic import BaseModel\n"
        "print(Operation.__pydantic_complete__, 'defer_build' in BaseModel.model_config)\n"
        "document = handler.app.openapi()\n"
        "print(document['paths']['/actions/say-hello']['get']['operationId'], OpenAPI.__pydantic_complete__)"
    )
    done = run("-c", program, cwd=tmp_path)
    assert done.stdout == "False False\nsay_hello True\n", done.stderr
