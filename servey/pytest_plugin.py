"""Collect the examples of a project's actions as tests: ``pytest --servey-examples``, or ``servey_examples = true``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from servey.app import Servey
    from servey.testing import ExampleCase


class Hooks:
    """The hooks of this plugin, for a project's ``conftest.py``."""

    def pytest_servey_set_up(self, app: Servey, case: ExampleCase) -> None:
        """Prepare one example: called before each, for example to fill a database or to set ``app.dependency_overrides``."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line option and the ini setting."""
    text = "run the examples of the actions of the project in this folder"
    parser.getgroup("servey").addoption("--servey-examples", action="store_true", help=text)
    parser.addini("servey_examples", text, type="bool", default=False)


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each example and each transport."""
    if not (config.getoption("--servey-examples") or config.getini("servey_examples")):
        return
    from servey.app import create_app
    from servey.core.settings import Settings
    from servey.testing import example_cases

    app = create_app(settings=Settings(env="dev", redis_url=None))
    for case in example_cases(app):
        items.append(ExampleItem.from_parent(session, name=case.id, case=case, app=app))


class ExampleItem(pytest.Item):
    """One example through one transport."""

    def __init__(self, *, case: ExampleCase, app: Servey, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case = case
        self._app = app

    def runtest(self) -> None:
        self.config.hook.pytest_servey_set_up(app=self._app, case=self._case)
        self._case.check(self._app)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int, str]:
        code = self._case.action.fn.__code__
        return code.co_filename, code.co_firstlineno - 1, f"example {self.name}"
