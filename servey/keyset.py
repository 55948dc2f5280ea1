"""Pages of SQLAlchemy queries by keyset: `select_page` for an ``AsyncSession``, `select_page_sync` for a ``Session``.

Each page costs one query, which begins after the last row of the page before; no ``OFFSET``, so the last page is as fast as
the first, and rows that others insert or delete neither repeat nor hide any. Servey itself does not need SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar, overload

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, Row, Select, and_, false, literal, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import QueryableAttribute, Session
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import asc_op, desc_op

from servey.core.actions.paging import Cursor, Page
from servey.core.errors import InvalidParams, ServeyError

T = TypeVar("T")
# A `select(Note)` is a `Select[tuple[Note]]` in SQLAlchemy 2.0 and a `Select[Note]` in 2.1, hence the overloads.

Sorted: TypeAlias = ColumnElement[Any] | QueryableAttribute[Any]
"""A column, or its ``.desc()`` or ``.asc()``."""


@overload
async def select_page(
    session: AsyncSession, statement: Select[tuple[T]], *, order_by: Sequence[Sorted], after: Cursor | None, first: int
) -> Page[T]: ...
@overload
async def select_page(
    session: AsyncSession, statement: Select[T], *, order_by: Sequence[Sorted], after: Cursor | None, first: int
) -> Page[T]: ...
async def select_page(
    session: AsyncSession, statement: Select[Any], *, order_by: Sequence[Sorted], after: Cursor | None, first: int
) -> Page[Any]:
    """Return the page of at most ``first`` rows that follow the cursor, in this order.

    The columns of ``order_by`` together are unique, e.g. by ending with the primary key, and not null; the statement has no
    order of its own, and selects one entity or column.
    Errors: InvalidParams for a cursor of another order; ServeyError if a value of ``order_by`` is null.
    """
    by = [_direction_of(each) for each in order_by]
    found = await session.execute(_limited(statement, order_by, by, after, first))
    return _page(found.unique().all(), len(by), first)


@overload
def select_page_sync(
    session: Session, statement: Select[tuple[T]], *, order_by: Sequence[Sorted], after: Cursor | None, first: int
) -> Page[T]: ...
@overload
def select_page_sync(
    session: Session, statement: Select[T], *, order_by: Sequence[Sorted], after: Cursor | None, first: int
) -> Page[T]: ...
def select_page_sync(
    session: Session, statement: Select[Any], *, order_by: Sequence[Sorted], after: Cursor | None, first: int
) -> Page[Any]:
    """Return what `select_page` does, for a session that is not async."""
    by = [_direction_of(each) for each in order_by]
    found = session.execute(_limited(statement, order_by, by, after, first))
    return _page(found.unique().all(), len(by), first)


def _direction_of(sort: Any) -> tuple[Any, bool]:
    """Return the column, and whether its order is descending. Errors: ServeyError for e.g. ``nulls_last()``."""
    if not isinstance(sort, UnaryExpression):
        return sort, False
    if sort.modifier not in (asc_op, desc_op):
        raise ServeyError(f"order_by has '{sort}'; use a column, or its desc()")
    return sort.element, sort.modifier is desc_op


def _limited(
    statement: Select[tuple[T]],
    order_by: Sequence[Sorted],
    by: list[tuple[Any, bool]],
    after: Cursor | None,
    first: int,
) -> Select[Any]:
    """Return the statement for the rows after the cursor, with one more row than the page, and the sorted values added."""
    if after is not None:
        statement = statement.where(_follows(by, after))
    # One row more tells whether there is a next page.
    return statement.add_columns(*(column for column, _ in by)).order_by(*order_by).limit(first + 1)


def _follows(by: list[tuple[Any, bool]], after: Cursor) -> ColumnElement[bool]:
    """Return the condition that a row comes after the cursor. Errors: InvalidParams for a cursor of another order."""
    if after.values is None:
        raise ServeyError("the cursor is not verified; take it as a parameter of the action")
    try:
        typed = [
            literal(TypeAdapter(column.type.python_type).validate_python(value), column.type)
            for (column, _), value in zip(by, after.values, strict=True)
        ]
    except ValueError:
        # A client may send the cursor of a list that an action has sorted in another way before.
        text = "is a cursor of this list in another order; use none to start at the beginning"
        raise InvalidParams([{"type": "cursor", "loc": ["after"], "msg": text, "input": None}]) from None
    follows: ColumnElement[bool] = false()
    for (column, is_descending), value in reversed(list(zip(by, typed, strict=True))):
        beyond = column < value if is_descending else column > value
        follows = or_(beyond, and_(column == value, follows))
    # Implied by the rest, and an index can begin there.
    column, is_descending = by[0]
    return and_(column <= typed[0] if is_descending else column >= typed[0], follows)


def _page(rows: Sequence[Row[Any]], sorted_columns: int, first: int) -> Page[Any]:
    shown = rows[:first]
    if len(rows) <= first or not shown:
        return Page(items=[row[0] for row in shown])
    values = shown[-1][-sorted_columns:]
    if None in values:
        raise ServeyError("a column of order_by is null; sort by columns that are never null")
    return Page(items=[row[0] for row in shown], next=Cursor(*to_jsonable_python(values)))
