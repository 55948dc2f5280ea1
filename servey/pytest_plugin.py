"""Collects the examples of a project's actions as tests: ``pytest --servey-examples``, or ``servey_examples = true``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from servey.app import Servey
    from servey.testing import ExampleCase


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option and the setting that switch it on."""
    text = "run the examples of the actions of the project in this folder"
    parser.getgroup("servey").addoption("--servey-examples", action="store_true", help=text)
    parser.addini("servey_examples", text, type="bool", default=False)


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds a test for each example and each transport."""
    if not (config.getoption("--servey-examples") or config.getini("servey_examples")):
        return
    from servey.app import create_app
    from servey.settings import Settings
    from servey.testing import example_cases

    app = create_app(settings=Settings(env="dev"))
    for case in example_cases(app.runtime.catalog):
        items.append(ExampleItem.from_parent(session, name=case.id, case=case, app=app))


class ExampleItem(pytest.Item):
    """One example through one transport."""

    def __init__(self, *, case: ExampleCase, app: Servey, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case = case
        self._app = app

    def runtest(self) -> None:
        self._case.check(self._app)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int, str]:
        code = self._case.action.fn.__code__
        return code.co_filename, code.co_firstlineno - 1, f"example {self.name}"
