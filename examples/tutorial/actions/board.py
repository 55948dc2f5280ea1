# actions/board.py
from database import TicketRow, sessions
from event_channels import board_changes
from models import Counts
from sqlalchemy import func, select

from servey import WEB_GET, WebPageTrigger, action


@action(triggers=(WEB_GET, WebPageTrigger()))
async def board() -> Counts:
    """How many tickets are open and closed: the page /board, and the route /actions/board."""
    async with sessions() as session:
        rows = await session.execute(select(TicketRow.is_open, func.count()).group_by(TicketRow.is_open))
    counts = dict(rows.all())
    return Counts(counts.get(True, 0), counts.get(False, 0))


async def announce() -> None:
    """Tell everyone who watches the board."""
    await board_changes.publish(await board())
