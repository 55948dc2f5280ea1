"""The order in which a worker checks its queues: random by weight, so that each queue gets its share."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from random import random

from servey.core.errors import ConfigError
from servey.core.queues import queue_problem


def parse_weights(text: str) -> dict[str, int]:
    """Read queues and their weights, e.g. ``mail=3,default``; a weight is 1 unless it is given. Errors: ConfigError."""
    weights: dict[str, int] = {}
    for part in text.split(","):
        name, equals, weight = part.strip().partition("=")
        problem = queue_problem(name)
        if problem is not None:
            raise ConfigError(f"queues {text!r}: {problem}")
        if equals and not (weight.isascii() and weight.isdigit() and 1 <= int(weight) <= 1000):
            raise ConfigError(f"queues {text!r}: the weight of '{name}' is {weight!r}; use a number from 1 to 1000")
        weights[name] = int(weight or 1)
    return weights


def in_turn(weights: Mapping[str, int], most: int) -> list[tuple[str, int]]:
    """Return queues in the order in which to look at them, with the share of ``most`` jobs that each may take at first.

    A queue comes first with a probability that is proportional to its weight.
    """
    if len(weights) == 1:
        return [(name, most) for name in weights]
    total = sum(weights.values())
    order = sorted(weights, key=lambda name: random() ** (1 / weights[name]), reverse=True)
    return [(name, ceil(most * weights[name] / total)) for name in order]
