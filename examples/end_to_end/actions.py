"""A guest book: a static site that shows it, an API, a page with a form, and a channel that tells of new entries."""

from dataclasses import dataclass
from typing import Annotated

from event_channels import Entry, entries
from pydantic import Field

from servey import WEB_GET, Redirect, ScopeAccessControl, WebPageTrigger, action


@dataclass
class Book:
    """What the pages show."""

    entries: list[Entry]


BOOK = Book([Entry("Ada", "The first entry")])


@action(triggers=WEB_GET)
async def list_entries(limit: Annotated[int, Field(ge=1, le=100)] = 20) -> list[Entry]:
    """The newest entries first."""
    return BOOK.entries[::-1][:limit]


@action(triggers=WebPageTrigger())
async def guest_book() -> Book:
    """The page with the form."""
    return BOOK


@action(triggers=WebPageTrigger("POST", "/guest-book", template_name="guest_book.j2"))
async def sign(
    name: Annotated[str, Field(min_length=2, max_length=40)], text: Annotated[str, Field(min_length=1, max_length=200)]
) -> Redirect:
    """Adds an entry, tells everyone who looks at the site, and leads back to the page."""
    entry = Entry(name, text)
    BOOK.entries.append(entry)
    await entries.publish(entry)
    return Redirect("/guest-book", 303)


@action(triggers=WebPageTrigger(), access_control=ScopeAccessControl("root"))
async def back_office() -> int:
    """How many entries there are, for the one who operates the site."""
    return len(BOOK.entries)
