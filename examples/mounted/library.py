"""The existing FastAPI project: its data and its authorization."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request


@dataclass
class Library:
    """Books and their borrowers; open during the app's lifespan."""

    borrowed: dict[str, str | None] = field(default_factory=lambda: {"Dune": None, "Emma": None, "Ulysses": "ada"})
    is_open: bool = True


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, Library]]:
    """Open the library and add it to the state of every request."""
    library = Library()
    try:
        yield {"library": library}
    finally:
        library.is_open = False


async def library_of(request: Request) -> Library:
    """Return the app's library."""
    library: Library = request.state.library
    assert library.is_open
    return library


async def member(x_member: Annotated[str | None, Header()] = None) -> str:
    """Return the caller, by this project's own authentication."""
    if x_member is None:
        raise HTTPException(401, "Say who you are in X-Member")
    return x_member


OurLibrary = Annotated[Library, Depends(library_of)]
Member = Annotated[str, Depends(member)]
