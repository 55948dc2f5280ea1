"""The results of actions: validated values, and the streams of streaming actions."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Message

from servey.calls.steps import resume_coroutine
from servey.calls.validation_errors import readable_errors
from servey.core.actions import Action
from servey.core.actions.paging import Page, cursor_key
from servey.core.context import Context, _current, current_context
from servey.core.errors import ServeyError


class ResultError(ServeyError):
    """A result does not match its annotation; the caller only sees an internal error."""


def checked(action: Action, result: Any) -> Any:
    """Validate a result against its annotation. Errors: ResultError."""
    if isinstance(result, Response) or action.result is None:
        return result
    try:
        made = action.result.validator.validate_python(result, from_attributes=True)
    except ValidationError as error:
        found = readable_errors(error)[:5]
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'result'}: {each['msg']}" for each in found)
        raise ResultError(
            f"action '{action.name}' ({action.place}) returned a value that does not match its annotation: {problems}"
        ) from None
    if action.cursor is not None and isinstance(made, Page) and made.next is not None:
        made.next.sign(cursor_key(current_context().runtime.settings, action.name))
    return made


def checked_or_error(action: Action, result: Any) -> Any:
    """Return the validated result of one key of a batch, or its exception."""
    if isinstance(result, Exception):
        return result
    try:
        return checked(action, result)
    except ResultError as error:
        return error


Waiting = tuple[Any, Any]
"""A step of a generator that has begun, and what it waits for; `Stream.wait` has to end it."""


class Stream:
    """The validated items of a streaming action; call `aclose` if you stop early."""

    def __init__(self, action: Action, items: Any, context: Context) -> None:
        self.action = action
        self._items = items
        self._context = context
        self._first: list[Any] = []
        self._ended = False

    async def start(self) -> None:
        """Wait for the first item, so that an error or timeout before it is reported like that of any call."""
        try:
            self._first.append(checked(self.action, await anext(self._items)))
        except StopAsyncIteration:
            await self.succeed()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._first:
            return self._first.pop()
        if self._ended:
            raise StopAsyncIteration
        # The iterating task is not the one that made the call, so set the current context for each step.
        running = _current.set(self._context)
        try:
            return checked(self.action, await anext(self._items))
        except StopAsyncIteration:
            await self.succeed()
            raise
        finally:
            _current.reset(running)

    def take_ready(self, take: Callable[[Any], bool]) -> Waiting | None:
        """Pass the items that need no waiting to ``take``, until it returns False or the next item has to be awaited.

        The items are not validated, apart from the first one. Errors: StopAsyncIteration at the end; what the generator or
        ``take`` raises.
        """
        running = _current.set(self._context)
        try:
            while self._first:
                if not take(self._first.pop()):
                    return None
            if self._ended:
                raise StopAsyncIteration
            items = self._items
            begin = items.__anext__ if type(items) is types.AsyncGeneratorType else lambda: _awaited(items)
            while True:
                step = begin()
                try:
                    waits_for = step.send(None)
                except StopIteration as done:
                    if not take(done.value):
                        return None
                else:
                    return step, waits_for
        finally:
            _current.reset(running)

    async def wait(self, waiting: Waiting) -> Any:
        """Return the item of a step, not validated. Errors: as `take_ready`."""
        running = _current.set(self._context)
        try:
            return await resume_coroutine(*waiting)
        finally:
            _current.reset(running)

    async def succeed(self) -> None:
        """End the stream after its last item, and do what the call deferred until its success."""
        if not self._ended:
            self._ended = True
            await self._context.succeed()

    async def aclose(self) -> None:
        """Close the generator; no more items follow."""
        self._ended = True
        self._first.clear()
        running = _current.set(self._context)
        try:
            await self._items.aclose()
        except BaseExceptionGroup as raised:  # a task group around a `yield` wraps what closes the generator
            _, rest = raised.split(GeneratorExit)
            if rest is not None:
                raise rest from None
        finally:
            _current.reset(running)


async def _awaited(items: Any) -> Any:
    return await anext(items)


async def write_body(response: Response, write: Callable[[bytes], object]) -> None:
    """Pass each chunk of a response's body to ``write``, then run the response's background tasks.

    Streams and files are read as a server would read them. Errors: those of the response's own body, and of ``write``.
    """

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            write(bytes(message["body"]))

    # From this version of ASGI on, a streaming response does not listen for a disconnect.
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "GET", "headers": []}
    await response(scope, receive, send)


async def body_of_response(response: Response) -> bytes:
    """Return the whole body of a response, and run its background tasks."""
    chunks: list[bytes] = []
    await write_body(response, chunks.append)
    return b"".join(chunks)
