"""A unittest class with a test for each example and transport."""

from __future__ import annotations

import re
import unittest
from collections.abc import Callable
from typing import Any

from servey.app import Servey, create_app
from servey.core.access import Authorization
from servey.core.settings import Settings
from servey.testing.examples import ExampleCase, example_cases


def define_test_class(
    app: Servey | None = None,
    *,
    authorization: Authorization | None = None,
    set_up: Callable[[ExampleCase], object] | None = None,
) -> type[unittest.TestCase]:
    """Return a test class with one test for each example of each action and each of its transports.

    The default ``app`` is the project in the working directory. Guarded actions are called with ``authorization``, or by
    default with the scopes that their access rule names. ``set_up`` is called before each test, for example to fill a
    database.
    """
    tested = app or create_app(settings=Settings(env="dev", redis_url=None))
    tests: dict[str, Any] = {"__doc__": "The examples of the project's actions."}
    for case in example_cases(tested):
        name = "test_" + re.sub(r"\W+", "_", case.id).strip("_").lower()
        while name in tests:
            name += "_"
        tests[name] = _test(case, tested, authorization, set_up)
    return type("TestActions", (unittest.TestCase,), tests)


def _test(
    case: ExampleCase,
    app: Servey,
    authorization: Authorization | None,
    set_up: Callable[[ExampleCase], object] | None,
) -> Callable[[unittest.TestCase], None]:
    def test(self: unittest.TestCase) -> None:
        if set_up is not None:
            set_up(case)
        case.check(app, authorization)

    test.__doc__ = f"{case.action.name}: {case.example.name} ({case.transport})"
    return test
