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
)

PUBLIC = {
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
    "Example",
    "FixedRateTrigger",
    "Forbidden",
    "NotFound",
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
    "webhook_event_channel",
    "websocket_event_channel",
}


def test_it_brings_in_nothing_heavy():
    program = f"import sys, servey\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert run("-c", program).stdout == "[]\n"


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

    assert servey.__version__ == version("servey") == "6.0.0"


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
