# models.py
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from database import CommentRow, TicketRow, sessions
from pydantic import Field
from sqlalchemy import select

from servey import BatchInvoker, action

Title = Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[^\x00]+$")]  # PostgreSQL stores no NUL
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]  # what INTEGER is in every database


class Priority(StrEnum):
    low = "low"
    normal = "normal"
    high = "high"


@dataclass
class Comment:
    author: str
    text: str


async def load_comments(numbers: list[int]) -> list[list[Comment]]:
    """Load the comments of any number of tickets with one query."""
    async with sessions() as session:
        rows = await session.scalars(select(CommentRow).where(CommentRow.ticket.in_(numbers)).order_by(CommentRow.id))
    found: dict[int, list[Comment]] = {number: [] for number in numbers}
    for row in rows:
        found[row.ticket].append(Comment(row.author, row.text))
    return [found[number] for number in numbers]


@dataclass
class Ticket:
    """A question to the help desk."""

    number: int
    title: str
    priority: Priority
    is_open: bool = True

    @action(batch_invoker=BatchInvoker(load_comments, arg_extractor=lambda ticket: [ticket.number]))
    async def comments(self) -> list[Comment]:
        """What was said about it."""
        return (await load_comments([self.number]))[0]


@dataclass
class Counts:
    """How many tickets there are."""

    open: int
    closed: int


def ticket_of(row: TicketRow) -> Ticket:
    return Ticket(row.number, row.title, Priority(row.priority), row.is_open)
