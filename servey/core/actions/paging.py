"""Pages of long lists: `Page` is what an action returns, `Cursor` is where the next page begins."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema, from_json, to_json

from servey.core.errors import InvalidParams, ServeyError

if TYPE_CHECKING:
    from servey.core.settings import Settings

T = TypeVar("T")
S = TypeVar("S")

CursorValue: TypeAlias = str | int | float | bool | None

_MAC_BYTES = 16
_MAX_TEXT = 2048


class Cursor:
    """A position in a list, after one of its items. Clients see an opaque signed text.

    Shape: ``values`` are those of the item that the list is sorted by; they are None for a text that is not verified yet.
    The signature is valid for one action of one app; clients can read the values, but not change them.
    """

    __slots__ = ("_text", "values")

    def __init__(self, *values: CursorValue) -> None:
        self.values: tuple[CursorValue, ...] | None = values
        self._text: str | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            cls._read,
            core_schema.str_schema(min_length=1, max_length=_MAX_TEXT, strict=True),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def _read(cls, value: Any, read_text: Callable[[Any], str]) -> Cursor:
        if isinstance(value, cls):
            return value
        made = cls()
        made.values, made._text = None, read_text(value)
        return made

    def sign(self, key: bytes) -> None:
        """Give the cursor its text."""
        if self._text is None:
            data = to_json(self.values)
            self._text = urlsafe_b64encode(_mac(key, data) + data).rstrip(b"=").decode()

    def verify(self, key: bytes) -> None:
        """Read the values from the text. Errors: ValueError if the text was not signed with this key."""
        if self.values is not None:
            return
        text = str(self)
        whole = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        mac, data = whole[:_MAC_BYTES], whole[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(key, data)):
            raise ValueError("the signature does not match")
        self.values = tuple(from_json(data))

    def __str__(self) -> str:
        """Return the text that clients see. Errors: ServeyError if no action has returned the cursor."""
        if self._text is None:
            raise ServeyError("A cursor has no text until an action returns it in a Page")
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and (self.values, self._text) == (other.values, other._text)

    def __hash__(self) -> int:
        return hash((self.values, self._text))

    def __repr__(self) -> str:
        return f"Cursor({', '.join(map(repr, self.values or ()))})" if self.values is not None else "Cursor(...)"


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:_MAC_BYTES]


@dataclass(frozen=True)
class Edge(Generic[T]):
    """An item of a page."""

    node: T
    cursor: str | None
    """The position after the item; only the last item of a page that is not the last one has it."""


@dataclass(frozen=True)
class PageInfo:
    """What follows a page."""

    has_next_page: bool
    end_cursor: str | None
    """The argument ``after`` of the next page."""
    has_previous_page: bool = False
    start_cursor: str | None = None


class Page(BaseModel, Generic[T]):
    """A part of a list, and the cursor of the next part; None after the last one.

    An action that returns it has a parameter for the cursor, e.g. ``after: Cursor | None = None``.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, from_attributes=True)

    items: list[T]
    next: Cursor | None = None

    def map(self, convert: Callable[[T], S]) -> Page[S]:
        """Return the page with each item converted."""
        return Page(items=[convert(item) for item in self.items], next=self.next)

    @property
    def edges(self) -> list[Edge[T]]:
        """The items, as a Relay connection has them."""
        last = len(self.items) - 1
        end = self._end_cursor
        return [Edge(item, end if place == last else None) for place, item in enumerate(self.items)]

    @property
    def page_info(self) -> PageInfo:
        """What follows, as a Relay connection says it."""
        return PageInfo(self.next is not None, self._end_cursor)

    @property
    def _end_cursor(self) -> str | None:
        return None if self.next is None else str(self.next)


def item_type_of(annotation: Any) -> Any:
    """Return the type of the items of a ``Page[T]``, or None if the annotation is no page."""
    if not (isinstance(annotation, type) and issubclass(annotation, Page)):
        return None
    arguments = annotation.__pydantic_generic_metadata__["args"] or get_args(annotation)
    return arguments[0] if arguments else Any


def cursor_key(settings: Settings, action_name: str) -> bytes:
    """Return the key that signs the cursors of an action."""
    secret = settings.cursor_key or settings.jwt_secret_key
    key = secret.encode() if secret else _key_of_process()
    return hmac.digest(key, f"servey cursor of {action_name}".encode(), "sha256")


@cache
def _key_of_process() -> bytes:
    """The key in development without a secret; production refuses to start then."""
    return secrets.token_bytes(hashlib.sha256().digest_size)


def verified(cursor: Cursor | None, parameter: str, key: bytes) -> None:
    """Verify a cursor that a client sent. Errors: InvalidParams if it was not made by this action."""
    if cursor is None:
        return
    try:
        cursor.verify(key)
    except ValueError:
        text = "is not a cursor of this list; use the one that its last page gave, or none to start at the beginning"
        raise InvalidParams([{"type": "cursor", "loc": [parameter], "msg": text, "input": str(cursor)[:200]}]) from None
