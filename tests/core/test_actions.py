"""The decorator: what it takes, what it gives, what it refuses."""

import importlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from servey import ALLOW_ALL, WEB_GET, WEB_POST, ConfigError, Context, Example, Settings, action, create_app
from servey.core.actions import get_action
from servey.core.actions.naming import camel_case, kebab_case

DEV = Settings(env="dev")


def test_the_function_stays_as_it_was():
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert action(add) is add
    assert action(triggers=WEB_GET)(add) is add
    assert add(1) == 3
    made = add.servey_action
    assert get_action(add) is made
    assert (made.name, made.description, made.timeout, made.access_control) == ("add", "Adds.", 15, ALLOW_ALL)
    assert get_action(print) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [(WEB_GET, (WEB_GET,)), ([WEB_GET, WEB_POST], (WEB_GET, WEB_POST)), (iter([WEB_POST]), (WEB_POST,)), ((), ())],
)
def test_triggers_are_one_or_many(given, expected):
    @action(triggers=given)
    def act() -> None: ...

    assert act.servey_action.triggers == expected


@dataclass
class Shelf:
    size: int

    @action
    def double(self) -> int:
        return self.size * 2

    @staticmethod
    @action
    def standalone() -> int:
        return 1


def test_a_methods_name_has_its_class():
    assert Shelf.double.servey_action.name == "Shelf.double"
    assert Shelf.standalone.servey_action.name == "standalone"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeout": 0}, "timeout is 0; use a number of seconds above 0"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"timeout": True}, "timeout is True"),
        ({"max_body_bytes": -1}, "max_body_bytes is -1"),
        ({"access_control": "root"}, r"access_control is 'root'; use a rule such as ScopeAccessControl\('root'\)"),
    ],
)
def test_a_decorator_that_can_not_be_meant(options, problem):
    with pytest.raises(ConfigError, match=rf"action 'act' \(.*test_actions.py:\d+\): {problem}"):

        @action(**options)
        def act() -> None: ...


def test_only_functions_are_actions():
    with pytest.raises(ConfigError, match="use it on a function or a method"):
        action(Shelf)


def missing_annotation(a: int, b) -> None: ...


def collects(*args: int) -> None: ...


def collects_names(**kwargs: int) -> None: ...


def positional(a: int, /) -> None: ...


def unknown_name(a: "Nowhere") -> None: ...  # noqa: F821


def unknown_result() -> "Nowhere": ...  # noqa: F821


def unfit_type(a: int, b: object()) -> None: ...  # type: ignore[valid-type]


@dataclass
class Dangling:
    parts: "list[Nowhere]"  # noqa: F821


def dangling_input(a: Dangling) -> None: ...


def dangling_result() -> list[Dangling]: ...


def plain_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("fn", "problem"),
    [
        (missing_annotation, r"parameter 'b' has no annotation; add one, e.g. b: int"),
        (collects, r"parameter 'args' is \*args or \*\*kwargs"),
        (collects_names, r"parameter 'kwargs' is \*args or \*\*kwargs"),
        (positional, r"parameter 'a' is positional only"),
        (unknown_name, r"parameter 'a' annotation 'Nowhere' cannot be resolved: name 'Nowhere' is not defined"),
        (unknown_result, r" return annotation 'Nowhere' cannot be resolved"),
        (unfit_type, r"parameter 'b' "),
        (dangling_input, r"parameter 'a' has a type that pydantic cannot validate: name 'Nowhere' is not defined"),
        (dangling_result, r" the result cannot be validated by pydantic: name 'Nowhere' is not defined"),
        (plain_generator, r" is a plain generator; use 'async def'"),
    ],
)
def test_a_signature_that_can_not_be_served(fn, problem):
    with pytest.raises(ConfigError, match=rf"action '{fn.__name__}' \(.*test_actions.py:\d+\):.*{problem}"):
        create_app(actions=[action(fn)], settings=DEV)


BELOW = """
from dataclasses import dataclass
from servey import action


def rule(authorization: "Nowhere") -> bool:
    return True


@action(access_control=rule)
def later(item: "Later") -> "Later":
    return item


@dataclass
class Later:
    inner: "Later | None" = None


@action
def lost(a: "Nowhere") -> None: ...
"""


def test_names_that_are_defined_below_their_use_or_nowhere(tmp_path, monkeypatch):
    text = BELOW.replace('"', "") if sys.version_info >= (3, 14) else BELOW  # PEP 649: no quotes are needed
    (tmp_path / "defined_below.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("defined_below")
    create_app(actions=[module.later], settings=DEV)
    problem = r"action 'lost' \(.*\): parameter 'a' annotation 'Nowhere' cannot be resolved"
    with pytest.raises(ConfigError, match=problem):
        create_app(actions=[module.lost], settings=DEV)


def test_all_problems_are_listed_together():
    made = [action(fn) for fn in (missing_annotation, collects, unknown_name, plain_generator)]
    with pytest.raises(ConfigError) as caught:
        create_app(actions=made, settings=DEV)
    assert [problem.split("'")[1] for problem in caught.value.problems] == [fn.__name__ for fn in made]


@action
def later() -> "Below":
    return Below()


@dataclass
class Below:
    number: int = 1


def test_types_may_be_defined_below():
    assert create_app(actions=[later], settings=DEV).runtime.catalog["later"].result_type is Below


def test_a_method_of_a_class_inside_a_function_is_found_through_a_result():
    @dataclass
    class Local:
        value: int

        @action(triggers=WEB_GET)
        def half(self) -> int:
            return self.value // 2

    @action(triggers=WEB_GET)
    def local() -> Local:
        return Local(4)

    local.__annotations__["return"] = Local
    app = create_app(actions=[local], settings=DEV)
    assert {each.name for each in app.runtime.catalog} == {"local", "Local.half"}
    with pytest.raises(ConfigError, match="is a method of Alone, which its module does not define"):

        class Alone:
            @action
            def act(self) -> None: ...

        create_app(actions=[Alone.act], settings=DEV)


@dataclass
class Leaf:
    @action
    def color(self) -> str:
        return "green"


@dataclass
class Branch:
    leaves: list[Leaf] = field(default_factory=list)
    other: "Branch | None" = None


def test_methods_of_what_results_hold_are_actions_too():
    @action(triggers=WEB_GET)
    async def branches() -> AsyncIterator[dict[str, Branch]]:
        yield {}

    assert "Leaf.color" in create_app(actions=[branches], settings=DEV).runtime.catalog


def test_a_context_is_not_a_parameter_of_the_client():
    @action
    def act(number: int, context: Context, maybe: Context | None = None) -> None: ...

    assert [param.name for param in act.servey_action.signature.client] == ["number"]


def test_examples_are_facts():
    assert Example("a") == Example("a", {}, None, None, True, True, None)


@pytest.mark.parametrize(
    ("name", "kebab", "camel"),
    [
        ("say_hello", "say-hello", "SayHello"),
        ("NumberStats", "number-stats", "NumberStats"),
        ("HTMLPage", "html-page", "HTMLPage"),
        ("a", "a", "A"),
        ("Shelf.double", "shelf-double", "ShelfDouble"),
        ("already-dashed", "already-dashed", "AlreadyDashed"),
    ],
)
def test_names(name, kebab, camel):
    assert (kebab_case(name), camel_case(name)) == (kebab, camel)
