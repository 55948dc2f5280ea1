"""What is wrong with the arguments of `@action`, and what to write instead."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, cast

from servey.core.access import problem_of
from servey.core.actions.examples import BatchInvoker, Example
from servey.core.actions.facts import Action
from servey.core.cache import CACHE_CONTROLS
from servey.core.queues import HIGHEST_PRIORITY, Limit, Retry, queue_problem
from servey.core.triggers import hidden_problem, status_problem, trigger_advice

_NO_ARGUMENTS = ("fn", "prefix", "dependencies", "given_name", "class_name")


def unknown_keywords(unknown: Iterable[str]) -> Iterator[str]:
    """Return what is wrong with keywords that the decorator does not have, with the nearest one that it has."""
    known = [field.name for field in fields(Action) if field.name not in _NO_ARGUMENTS]
    for keyword in unknown:
        close = get_close_matches(keyword, known, n=1, cutoff=0.5)
        yield f"'{keyword}' is not an argument of @action" + (f"; did you mean '{close[0]}'?" if close else "")


def invalid_values(made: Action, name: Any, description: Any) -> Iterator[str]:
    """Return what is wrong with the values of a decorator, and what to write instead."""
    for each in made.triggers:
        advice = trigger_advice(each)
        if advice is not None:
            yield f"triggers has {_shown(each)}; write {advice}"
    expected: dict[str, tuple[Any, type | tuple[type, ...], str]] = {
        "name": (name, str, "a string, e.g. name='say_hello'"),
        "description": (description, str, "a string"),
        "cache_control": (made.cache_control, CACHE_CONTROLS, "e.g. cache_control=TtlCacheControl(30)"),
        "batch_invoker": (made.batch_invoker, BatchInvoker, "batch_invoker=BatchInvoker(load_many)"),
        "deprecated": (made.deprecated, bool, "True or False"),
        "cancel_on_disconnect": (made.cancel_on_disconnect, bool, "True or False"),
        "responses": (made.responses, Mapping, "e.g. responses={404: Problem}"),
        "retry": (made.retry, Retry, "e.g. retry=Retry(max_tries=3)"),
        "limit": (made.limit, Limit, "e.g. limit=Limit(concurrent=3)"),
    }
    yield from filter(None, (status_problem(made.status_code), hidden_problem(made.hidden)))
    for keyword, (value, kind, advice) in expected.items():
        if (value is not None and not isinstance(value, kind)) or value == "":
            yield f"{keyword} is {_shown(value)}; write {advice}"
    if not all(isinstance(each, Example) for each in made.examples):
        wrong = next(each for each in made.examples if not isinstance(each, Example))
        yield f"examples has {_shown(wrong)}; write examples=[Example('name', {{'parameter': 1}}, result=2)]"
    if not all(isinstance(each, str) for each in made.tags):
        yield f"tags is {made.tags!r}; write strings, e.g. tags=('shop',)"
    no_rule = problem_of(made.access_control)
    if no_rule is not None:
        yield no_rule
    timeout: Any = made.timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        yield f"timeout is {timeout!r}; use a number of seconds above 0, e.g. timeout=5"
    problem = queue_problem(made.queue)
    if problem is not None:
        yield f"queue is {problem}"
    priority: Any = made.priority
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > HIGHEST_PRIORITY:
        yield f"priority is {priority!r}; use a whole number from -100 to 100; jobs of a higher one run first"
    if not isinstance(cast(Any, made.blocking), bool):
        yield f"blocking is {made.blocking!r}; write True or False"
    limit: Any = made.max_body_bytes
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        yield f"max_body_bytes is {limit!r}; use a number of bytes, 0 or more, e.g. max_body_bytes=1_000_000"


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"the function {value.__name__}" if inspect.isfunction(value) else f"{value!r:.100}"
