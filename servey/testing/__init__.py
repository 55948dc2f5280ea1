"""Tools for the tests of a project: a client for its app, and tests generated from the examples of its actions.

An example runs through the action's real transports, with validation, access control and serialization.
"""

from __future__ import annotations

from servey.core.errors import why_missing

try:
    from servey.testing.classes import define_test_class
    from servey.testing.client import Subscriber, async_client, client, every_item, subscribe, token_for
    from servey.testing.clock import SettableClock, set_clock
    from servey.testing.examples import ExampleCase, example_cases
    from servey.testing.outcomes import Outcome
    from servey.testing.recorders import Enqueued, enqueued, published
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(why_missing(_error) or str(_error), name=_error.name) from _error

__all__ = [
    "Enqueued",
    "ExampleCase",
    "Outcome",
    "SettableClock",
    "Subscriber",
    "async_client",
    "client",
    "define_test_class",
    "enqueued",
    "every_item",
    "example_cases",
    "published",
    "set_clock",
    "subscribe",
    "token_for",
]
