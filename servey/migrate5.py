"""What a project of servey 5 has to change for this version, file by file.

`findings` reads files and changes nothing. A finding is an error if the code cannot run, otherwise a note about something
that behaves differently.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servey.seed_imports import SEED_PATHS

_SKIPPED = {"__pycache__", "node_modules", "venv", "env", "site-packages", "serverless_servey"}
_TEXTS = {".cfg", ".env", ".ini", ".sh", ".toml", ".txt", ".yaml", ".yml"}
_NAMES = {"Dockerfile", "Procfile", "Makefile"}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing to change or to know. ``is_error``: the project does not run without the change."""

    path: Path
    line: int
    text: str
    is_error: bool = True


def findings(folder: Path) -> list[Finding]:
    """Return what to change in the files below a folder, by file and line."""
    found: list[Finding] = []
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files_of(folder)}
    if (folder / _MAIN).is_dir() and not any("SERVEY_MAIN" in text for text in texts.values()):
        what = f"set SERVEY_MAIN={_MAIN}: the actions of this package are found only if it is named"
        found.append(Finding(Path(_MAIN), 1, what))
    for path, text in texts.items():
        place = path.relative_to(folder)
        if path.suffix == ".py":
            found += _in_python(place, path.read_bytes())
        elif path.suffix == ".j2":
            found += _in_template(place, text)
        else:
            found += _in_text(place, text)
    return sorted(set(found))


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder that are read, in order."""
    return sorted(_files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in _SKIPPED and not path.name.startswith("."):
                yield from _files(path)
        elif not path.is_file():
            continue  # a link to nothing, as editors make them to lock a file, or a pipe
        elif path.suffix in {".py", ".j2", *_TEXTS} or path.name in _NAMES or path.name.startswith(".env"):
            yield path


# ------------------------------------------------------------------------------------------------------------- Python

_MODULES = {
    "servey.cache_control": "a cache control of your own is not supported; use TtlCacheControl, SecureHashCacheControl or "
    "TimestampCacheControl",
    "servey.event_channel": "declare channels with websocket_event_channel, background_action_channel and "
    "webhook_event_channel from servey",
    "servey.finder": "pass actions and channels to create_app(actions=[...], channels=[...])",
    "servey.security.authenticator": "replace the part `password_authenticator` (docs/parts.md)",
    "servey.security.authorizer": "issue tokens with servey.issue_token(subject, scopes=[...]), and replace the part "
    "`authorizer` for tokens of your own (docs/parts.md)",
    "servey.security.access_control": "write a rule as in docs/authorization.md, or combine ScopeAccessControl with & and |",
    "servey.servey_aws": "use servey.aws.handler; `servey sls` writes the rest",
    "servey.servey_celery": "there is no Celery: set SERVEY_REDIS_URL and run `servey worker`",
    "servey.servey_starlette.starlette_app": "write `servey_app = create_app()` in app.py and serve app:servey_app",
    "servey.servey_starlette": "the app is a FastAPI app: add routes and middleware to create_app()",
    "servey.servey_strawberry": "the schema is built from the types of the actions; use a serializer of Pydantic for others",
    "servey.servey_thread": "`servey dev` runs jobs and schedules itself; in production set SERVEY_REDIS_URL and run "
    "`servey worker`",
    "servey.servey_web_page": "pages are built in; import WebPageTrigger, WebPageResponse and Redirect from servey",
    "servey.trigger": "use WebTrigger, WebPageTrigger, FixedRateTrigger or CronTrigger from servey",
}
"""What replaces modules of servey 5 that do not exist any more, by the beginning of their name."""

_LIBRARIES = {
    "marshy": "Servey uses Pydantic: give the type a Pydantic serializer and validator instead of a marshaller",
    "schemey": "Servey uses Pydantic: use pydantic.TypeAdapter(type).json_schema()",
    "injecty": "Servey has parts instead: SERVEY_PLUGINS names a function that receives them (docs/parts.md)",
}

_MAIN = "servey_main"
"""The package that servey 5 read when SERVEY_MAIN was not set."""

_ATTRIBUTES = {
    "__servey_action__": "write servey_action",
    "is_valid_for_timestamp": "write is_valid_at",
    "check_valid_for_timestamp": "write check_valid_at",
    "is_executable": "a rule is a function: call rule(authorization)",
}


def _in_python(path: Path, source: bytes) -> Iterator[Finding]:
    try:
        with warnings.catch_warnings(action="ignore"):  # those of Python about the project's code
            tree = ast.parse(source)  # bytes, since the file says how it is encoded
    except SyntaxError as error:
        yield Finding(path, error.lineno or 1, f"Python cannot read this file: {error.msg}")
        return
    except (ValueError, MemoryError, RecursionError) as error:
        # A NUL, or brackets that are nested too deeply for the parser.
        yield Finding(path, 1, f"Python cannot read this file: {str(error) or 'it is nested too deeply'}")
        return
    if path.name == "__init__.py" and path.parent.name.startswith(("injecty_config_", "marshy_config_")):
        yield Finding(path, 1, f"{path.parent.name} is not read any more. {_LIBRARIES['injecty']}")
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from _import(path, node.lineno, name.name, ())
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from _import(path, node.lineno, node.module, tuple(name.name for name in node.names))
        elif isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
            yield Finding(path, node.lineno, f"{node.attr}: {_ATTRIBUTES[node.attr]}")
        elif isinstance(node, ast.Constant) and node.value in ("__servey_action__", *_VARIABLES):
            advice = _ATTRIBUTES.get(str(node.value)) or _VARIABLES[str(node.value)]
            yield Finding(path, node.lineno, f"{node.value}: {advice}")
        elif isinstance(node, ast.Call):
            yield from _call(path, node, functions)
        elif isinstance(node, ast.ClassDef):
            yield from _fields(path, node)
            yield from _methods(path, node)


def _import(path: Path, line: int, module: str, names: tuple[str, ...]) -> Iterator[Finding]:
    library = module.partition(".")[0]
    if library in _LIBRARIES:
        yield Finding(path, line, f"{module}: {_LIBRARIES[library]}")
    elif module in SEED_PATHS:
        for name in names:
            if name != "*" and name not in SEED_PATHS[module]:
                yield Finding(path, line, f"{module} has no {name}: {_advice(module)}")
    elif re.match(r"servey\.(action|cache_control|event_channel|finder|security|servey_\w+|trigger|util)\b", module):
        wanted = [f"{module}.{name}" for name in names] or [module]
        if not all(any(f"{each}.".startswith(f"{name}.") for each in SEED_PATHS) for name in wanted):
            yield Finding(path, line, f"there is no module {module}: {_advice(module)}")


def _advice(module: str) -> str:
    begins = [each for each in _MODULES if module == each or module.startswith(each + ".")]
    return _MODULES[max(begins, key=len)] if begins else "docs/from-servey-5.md lists the modules that exist"


def _call(
    path: Path, node: ast.Call, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
) -> Iterator[Finding]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    given = {word.arg: word.value for word in node.keywords}
    if name == "TtlCacheControl" and ("cache_control" in given or len(node.args) > 1):
        yield Finding(
            path, node.lineno, "TtlCacheControl has no cache_control: an ETag is always sent; write private=..."
        )
    elif name == "WebhookEventChannel":
        yield Finding(path, node.lineno, "WebhookEventChannel: write webhook_event_channel(name, url, event_type)")
    elif name == "BatchInvoker":
        fn = node.args[0] if node.args else given.get("fn")
        called = functions.get(fn.id) if isinstance(fn, ast.Name) else None
        if called is not None and any(each.annotation is None for each in called.args.args[1:]):
            text = f"BatchInvoker calls {called.name} with the keys only; annotate other parameters as in an action"
            yield Finding(path, node.lineno, text)
    elif name == "ScopeAccessControl" and [word for word in (*node.args, *given.values()) if _is_none(word)]:
        yield Finding(path, node.lineno, "ScopeAccessControl(None) is refused: write ALLOW_NONE")
    elif name == "action" and len(node.args) > 1:
        yield Finding(path, node.lineno, "the arguments of action are keywords: write access_control=..., triggers=...")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _fields(path: Path, node: ast.ClassDef) -> Iterator[Finding]:
    for field in node.body:
        for part in ast.walk(field) if isinstance(field, ast.AnnAssign) else ():
            if isinstance(part, ast.Call) and getattr(part.func, "id", getattr(part.func, "attr", "")) == "ForwardRef":
                text = "a field's ForwardRef cannot name a module: write the name of the class alone, in quotes"
                yield Finding(path, part.lineno, text)


def _methods(path: Path, node: ast.ClassDef) -> Iterator[Finding]:
    for method in node.body:
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in method.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "action":
                    given = {word.arg for word in decorator.keywords}
                    if "triggers" in given and "name" not in given:
                        text = (
                            f"the action is named {node.name}.{method.name}, and its route has the name of the class too; "
                            f'write name="{method.name}" to keep /actions/{method.name.replace("_", "-")}'
                        )
                        yield Finding(path, method.lineno, text, is_error=False)


# -------------------------------------------------------------------------------------------------------- other files

_VARIABLES = {
    "CELERY_BROKER": "set SERVEY_REDIS_URL, and run `servey worker` instead of Celery",
    "CONNECTION_TABLE_NAME": "SERVEY_CONNECTION_TABLE; `servey sls` sets it",
    "SERVER_WS_URL": "there is no such setting; documents name the paths of websockets only",
    "SERVEY_ACTION_FUNCTION_NAME": "SERVEY_AWS_ACTION; `servey sls` sets it",
    "SERVEY_ACTION_MODULE": "SERVEY_AWS_ACTION; `servey sls` sets it",
    "SERVEY_API_DESCRIPTION": "write create_app(description=...)",
    "SERVEY_API_VERSION": "write create_app(version=...)",
    "SERVEY_DAEMON": "jobs and schedules run in the server, or in `servey worker`",
}
"""Environment variables of servey 5 that are not read any more."""

_LINES = [
    (
        re.compile(r"\bcelery\b.*-A\s*servey|servey\.servey_celery"),
        "there is no Celery: set SERVEY_REDIS_URL and run `servey worker`",
    ),
    (re.compile(r"servey\.servey_starlette\.starlette_app"), _MODULES["servey.servey_starlette.starlette_app"]),
    (re.compile(r"runtime:\s*python3\.([0-9]|10)\b"), "Python 3.11 or newer is needed: runtime: python3.12"),
    (re.compile(r"^FROM python:3\.([0-9]|10)\b"), "Python 3.11 or newer is needed"),
    (
        re.compile(r"\$\{file\(serverless_servey/"),
        "rename this file, run `servey sls`, and copy your own settings into the new serverless.yml",
    ),
    (
        re.compile(r"^\s*servey(\[[\w,]+\])?\s*(==|~=|<|$)"),
        "the package index may serve servey 5 under this name; install version 6 from its clone, and resolve pins again",
    ),
]


def _in_text(path: Path, text: str) -> Iterator[Finding]:
    lines = text.splitlines()
    if any("# servey:" in line for line in lines):
        return  # this version has written it
    told = set()
    for number, line in enumerate(lines, 1):
        for name, advice in _VARIABLES.items():
            if re.search(rf"\b{name}\b", line):
                yield Finding(path, number, f"{name}: {advice}", is_error=name == "CELERY_BROKER")
        for pattern, advice in _LINES:
            if pattern.search(line) and advice not in told:
                told.add(advice)
                yield Finding(path, number, advice)


def _in_template(path: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"\bmodel(\.\w+)*\.(items|keys|values|get)\(", line):
            yield Finding(path, number, "the model is the Python object itself, not a dict: write its attributes")
