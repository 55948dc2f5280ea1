# actions/tickets.py
from actions.board import announce
from actions.routine import thank
from database import CommentRow, Session, TicketRow
from event_channels import closed
from fastapi import BackgroundTasks
from models import Number, Priority, Ticket, Title, ticket_of
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    Authorization,
    Conflict,
    Example,
    NotFound,
    ScopeAccessControl,
    WebTrigger,
    WebTriggerMethod,
    action,
    enqueue,
)


async def row_of(number: int, session: AsyncSession, authorization: Authorization) -> TicketRow:
    """A ticket that the caller may see."""
    row = await session.get(TicketRow, number)
    if row is None or (row.owner != authorization.subject_id and not authorization.has_scope("agent")):
        raise NotFound(f"There is no ticket {number}")
    return row


@action(
    triggers=WEB_POST,
    examples=(Example("too_short", params={"title": "?"}, error="invalid_params"),),
)
async def open_ticket(
    title: Title,
    authorization: Authorization,
    session: Session,
    background: BackgroundTasks,
    priority: Priority = Priority.normal,
) -> Ticket:
    """Open a ticket."""
    row = TicketRow(title=title, priority=priority, owner=authorization.subject_id, is_open=True)
    session.add(row)
    await session.flush()  # the database chooses the number
    background.add_task(announce)
    return ticket_of(row)


@action(
    triggers=(WebTrigger(WebTriggerMethod.GET, "/tickets/{number}"), MCP_TOOL),
    examples=(Example("not_there", params={"number": 0}, error="not_found"),),
)
async def get_ticket(number: Number, authorization: Authorization, session: Session) -> Ticket:
    """One ticket."""
    return ticket_of(await row_of(number, session, authorization))


@action(triggers=(WEB_GET, MCP_TOOL))
async def list_tickets(authorization: Authorization, session: Session, after: Number = 0) -> list[Ticket]:
    """Your tickets, at most 100 after a number; an agent gets everyone's."""
    wanted = select(TicketRow).where(TicketRow.number > after).order_by(TicketRow.number).limit(100)
    if not authorization.has_scope("agent"):
        wanted = wanted.where(TicketRow.owner == authorization.subject_id)
    return [ticket_of(row) for row in await session.scalars(wanted)]


@action(triggers=(WEB_POST, MCP_TOOL))
async def add_comment(number: Number, text: Title, authorization: Authorization, session: Session) -> None:
    """Say something about a ticket."""
    row = await row_of(number, session, authorization)
    session.add(CommentRow(ticket=row.number, author=authorization.subject_id, text=text))


@action(
    triggers=WebTrigger(WebTriggerMethod.POST, "/tickets/{number}/close"),
    access_control=ScopeAccessControl("agent"),
)
async def close_ticket(
    number: Number, authorization: Authorization, session: Session, background: BackgroundTasks
) -> Ticket:
    """Close a ticket."""
    row = await row_of(number, session, authorization)
    if not row.is_open:
        raise Conflict(f"Ticket {number} is closed already")
    row.is_open = False
    background.add_task(after_close, ticket_of(row))
    return ticket_of(row)


async def after_close(ticket: Ticket) -> None:
    """What follows a closed ticket, after the transaction was committed."""
    await announce()
    await closed.publish(ticket)
    await enqueue(thank, {"number": ticket.number}, key=f"thank {ticket.number}")
