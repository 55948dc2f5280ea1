"""Typical mistakes in a project: each is one line with its place and its remedy, from every command that meets it."""

import importlib
import sys

import pytest

from servey import ConfigError, create_app
from servey.cli.main import run
from servey.server import discovered_app

HEAD = "from servey import *\nfrom fastapi import Depends\nfrom starlette.responses import Response\n"
"""Three lines, so that the first line of a mistake is line 4."""


def decorated(arguments: str, signature: str = "() -> None") -> str:
    return f"@action({arguments})\ndef act{signature}: ...\n"


DECORATOR = "action 'act' (actions.py:4): "
MISTAKES = {
    "trigger=": (decorated("trigger=WEB_GET"), "'trigger' is not an argument of @action; did you mean 'triggers'?"),
    "acces_control=": (
        decorated("acces_control=ALLOW_ALL"),
        "'acces_control' is not an argument of @action; did you mean 'access_control'?",
    ),
    "triggers text": (decorated("triggers='GET'"), "triggers has 'GET'; write WebTrigger('GET')"),
    "triggers class": (decorated("triggers=WebTrigger"), "triggers has the class WebTrigger; write WebTrigger(...)"),
    "triggers number": (decorated("triggers=[5]"), "triggers has 5; write FixedRateTrigger(5)"),
    "triggers None": (decorated("triggers=None"), "triggers has None; write a trigger such as WEB_GET"),
    "triggers method": (decorated("triggers=WebTriggerMethod.GET"), "write WebTrigger('GET')"),
    "cache number": (
        decorated("cache_control=30"),
        "cache_control is 30; write e.g. cache_control=TtlCacheControl(30)",
    ),
    "cache class": (
        decorated("cache_control=TtlCacheControl"),
        "cache_control is the class TtlCacheControl; write e.g.",
    ),
    "retry number": (decorated("retry=3"), "retry is 3; write e.g. retry=Retry(max_tries=3)"),
    "timeout text": (decorated("timeout='5s'"), "timeout is '5s'; use a number of seconds above 0, e.g. timeout=5"),
    "timeout None": (decorated("timeout=None"), "timeout is None; use a number of seconds above 0"),
    "timeout 0": (decorated("timeout=0"), "timeout is 0; use a number of seconds above 0"),
    "one example": (decorated("examples=Example('x')"), "examples is one Example; write a list, e.g. examples=["),
    "example dict": (decorated("examples=[{'a': 1}]"), "examples has {'a': 1}; write examples=[Example("),
    "access class": (
        decorated("access_control=ScopeAccessControl"),
        "access_control is the class ScopeAccessControl; use an instance of it, such as ScopeAccessControl(...)",
    ),
    "access text": (decorated("access_control='root'"), "use a rule such as ScopeAccessControl('root')"),
    "access True": (decorated("access_control=True"), "access_control is True; use a rule such as ALLOW_ALL"),
    "access None": (decorated("access_control=None"), "access_control is None; use a rule such as ALLOW_ALL"),
    "access without a parameter": (
        decorated("access_control=lambda: True"),
        "access_control is <lambda>, which does not take (authorization) or (authorization, params)",
    ),
    "access joined": (
        decorated("access_control=ScopeAccessControl('a') | 'b'"),
        "use a rule such as ScopeAccessControl('b')",
    ),
    "batch function": (decorated("batch_invoker=len"), "write batch_invoker=BatchInvoker(load_many)"),
    "name": (decorated("name=5"), "name is 5; write a string, e.g. name='say_hello'"),
    "description": (decorated("description=5"), "description is 5; write a string"),
    "blocking": (decorated("blocking='no'"), "blocking is 'no'; write True or False"),
    "max_body_bytes": (decorated("max_body_bytes='1MB'"), "max_body_bytes is '1MB'; use a number of bytes, 0 or more"),
    "tags": (decorated("tags=[1]"), "tags is (1,); write strings, e.g. tags=('shop',)"),
    "no annotation": (decorated("", "(x)"), "parameter 'x' has no annotation; add one, e.g. x: int"),
    "star": (decorated("", "(*x: int)"), "parameter 'x' is *args or **kwargs; name each parameter instead"),
    "unknown name": (decorated("", "(x: 'Itm') -> int"), "parameter 'x' annotation 'Itm' cannot be resolved"),
    "path": (decorated("triggers=WebTrigger('GET', 'x')"), "path is 'x'; begin it with '/'"),
    "path parameter": (
        decorated("triggers=WebTrigger('GET', '/{y}')"),
        "has 'y', which is not a parameter of the function",
    ),
    "dict in a query": (decorated("triggers=WEB_GET", "(x: dict[str, int])"), "use a JSON body, e.g. WEB_POST"),
    "template": (decorated("triggers=WebPageTrigger()"), "there is no template 'templates/act.j2'"),
    "schedule parameter": (
        decorated("triggers=FixedRateTrigger(5)", "(x: int)"),
        "parameter 'x' is called by a schedule, which passes no parameters; add a default",
    ),
    "cron": (decorated("triggers=CronTrigger('61 * * * *')"), "61"),
}
ELSEWHERE = {
    "method": ("WebTrigger('GTE')\n", "WebTrigger('GTE'): did you mean 'GET'? (actions.py:4)"),
    "interval": ("FixedRateTrigger(0)\n", "FixedRateTrigger(0): "),
    "cron text": ("CronTrigger(5)\n", "CronTrigger(5): use five fields, e.g. '*/5 * * * *' (actions.py:4)"),
    "zone": (
        "CronTrigger('* * * * *', 'Berlin')\n",
        "unknown time zone 'Berlin'; use an IANA name, e.g. 'Europe/Berlin'",
    ),
    "ttl": ("TtlCacheControl('30')\n", "TtlCacheControl('30'): "),
    "scope": ("ScopeAccessControl(5)\n", "ScopeAccessControl(5): give the name of a scope, or a tuple of names"),
    "tries": ("Retry(max_tries='3')\n", "max_tries >= 1"),
    "batch": ("BatchInvoker('x')\n", "BatchInvoker('x'): the first argument must be a function of a list of keys"),
    "syntax": ("def (\n", "module 'actions' cannot be imported (actions.py:4): SyntaxError"),
    "import": ("import no_such_module\n", "module 'actions' cannot be imported (actions.py:4): ModuleNotFoundError"),
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> None:
        for name in ("actions", "event_channels", "app"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        (tmp_path / "actions.py").write_text(HEAD + text, encoding="utf-8")

    yield write
    for name in ("actions", "event_channels", "app"):
        sys.modules.pop(name, None)


def lines_of(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("name", [*MISTAKES, *ELSEWHERE])
def test_a_mistake_is_a_line_from_every_command(project, capsys, name):
    text, expected = (MISTAKES | ELSEWHERE)[name]
    project(text)
    with pytest.raises(ConfigError) as refused:
        create_app()
    (problem,) = refused.value.problems
    assert expected in problem
    assert problem.startswith(DECORATOR.rstrip(" ")) or name in ELSEWHERE, problem
    assert "actions.py:4" in problem
    assert "\n" not in problem
    for command in (["actions"], ["doctor"], ["openapi", "-o", "-"], ["run"], ["call", "act"], ["graphql-schema"]):
        project(text)
        with pytest.raises(SystemExit) as ended:
            run(command)
        assert (ended.value.code, lines_of(capsys)) == (1, [f"error: {problem}"]), command
    project(text)
    with pytest.raises(SystemExit):
        discovered_app()  # what the processes of `servey run` call
    assert lines_of(capsys) == [f"error: {problem}"]


def test_all_problems_of_a_project_are_told_at_once(project):
    named = ["trigger=", "no annotation", "path", "template", "schedule parameter", "dict in a query", "cache number"]
    texts = [
        MISTAKES[name][0].replace("act", f"act{number}").replace("@act" + str(number) + "ion", "@action")
        for number, name in enumerate(named)
    ]
    project("\n".join(texts))
    with pytest.raises(ConfigError) as refused:
        create_app()
    told = "\n".join(refused.value.problems)
    for name in named:
        assert MISTAKES[name][1].replace("act", "act3") in told or MISTAKES[name][1] in told, name
    assert len(refused.value.problems) == len(named)


def test_a_page_that_only_redirects_needs_no_template(project):
    project(
        "@action(triggers=WebPageTrigger())\ndef go() -> Redirect: ...\n"
        "@action(triggers=WebPageTrigger())\ndef show() -> Response | Redirect: ...\n"
    )
    assert len(create_app().runtime.catalog.actions) == 2


def test_a_reference_that_names_its_module_resolves(project):
    project(
        "from typing import ForwardRef, Optional\nfrom dataclasses import dataclass\n"
        "@action(triggers=WEB_GET)\n"
        "def find(near: Optional[ForwardRef(f'{__name__}.Node')] = None) -> list[ForwardRef(f'{__name__}.Node')]: ...\n"
        "@dataclass\nclass Node:\n    number: int\n"
    )
    schema = create_app().openapi()
    assert "Node" in schema["components"]["schemas"]


def test_an_unknown_variable_is_a_warning_with_the_nearest_name(monkeypatch, caplog):
    monkeypatch.setenv("SERVEY_REDIS_ULR", "redis://x")
    create_app(actions=[])
    assert [record.getMessage() for record in caplog.records if "is not a setting" in record.getMessage()] == [
        "SERVEY_REDIS_ULR is not a setting; did you mean SERVEY_REDIS_URL?"
    ]
