"""What an action says besides its function: examples of calls, and how to load it for many parents at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from servey.core.errors import ConfigError


@dataclass(frozen=True)
class Example:
    """One call of an action with its expected result, used in documents and as a test.

    If the call must fail, ``error`` is the expected error code; otherwise ``result`` is the expected JSON-like value or
    Python object.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    description: str | None = None
    include_in_tests: bool = True
    include_in_schema: bool = True
    error: str | None = None


@dataclass(frozen=True)
class BatchInvoker:
    """Loads a nested action's results for many parent objects in one call (a DataLoader), to avoid the N+1 problem.

    ``fn(keys)`` returns one result per key; an item that is an exception fails only its own parent. After the keys it may
    take the parameters of the method, by name, and what an action can have injected, e.g. ``Depends(...)``.
    ``arg_extractor(parent)`` returns ``[key]``; without it the parent itself is the key.
    """

    fn: Callable[..., Any]
    max_batch_size: int = 100
    arg_extractor: Callable[[Any], list[Any]] | None = None

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ConfigError(f"BatchInvoker({self.fn!r}): the first argument must be a function of a list of keys")
        size: Any = self.max_batch_size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"BatchInvoker: max_batch_size is {self.max_batch_size}; set it to 1 or more")
