"""A guest book: a static site, an API, a page with a form, and a channel that publishes new entries."""

from dataclasses import dataclass
from typing import Annotated

from event_channels import Entry, entries
from pydantic import Field

from servey import WEB_GET, Redirect, ScopeAccessControl, WebPageTrigger, action


@dataclass
class Book:
    """The data of the pages."""

    entries: list[Entry]


BOOK = Book([Entry("Ada", "The first entry")])


@action(triggers=WEB_GET)
async def list_entries(limit: Annotated[int, Field(ge=1, le=100)] = 20) -> list[Entry]:
    """List the entries, newest first."""
    return BOOK.entries[::-1][:limit]


@action(triggers=WebPageTrigger())
async def guest_book() -> Book:
    """Show the page with the form."""
    return BOOK


@action(triggers=WebPageTrigger("POST", "/guest-book", template_name="guest_book.j2"))
async def sign(
    name: Annotated[str, Field(min_length=2, max_length=40)], text: Annotated[str, Field(min_length=1, max_length=200)]
) -> Redirect:
    """Add an entry, publish it to open browsers, and redirect to the page."""
    entry = Entry(name, text)
    BOOK.entries.append(entry)
    await entries.publish(entry)
    return Redirect("/guest-book", 303)


@action(triggers=WebPageTrigger(), access_control=ScopeAccessControl("root"))
async def back_office() -> int:
    """Show the number of entries to the operator of the site."""
    return len(BOOK.entries)
