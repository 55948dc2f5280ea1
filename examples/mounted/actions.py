"""The part that uses Servey: actions with the project's own dependencies, and an event channel."""

from library import Member, OurLibrary

from servey import WEB_GET, WEB_POST, Conflict, NotFound, action, websocket_event_channel

loans = websocket_event_channel("loans", str, history=10)


@action(triggers=WEB_GET)
async def find_books(library: OurLibrary, text: str = "") -> list[str]:
    """Return the titles that contain a text."""
    return [title for title in library.borrowed if text.lower() in title.lower()]


@action(triggers=WEB_POST)
async def borrow(library: OurLibrary, member: Member, title: str) -> str:
    """Lend a book to the caller."""
    if title not in library.borrowed:
        raise NotFound(f"There is no book '{title}'")
    if library.borrowed[title] is not None:
        raise Conflict("Somebody has it")
    library.borrowed[title] = member
    await loans.publish(f"{member} has {title}")
    return f"{title} is yours, {member}"
