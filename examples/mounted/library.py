"""The part of a FastAPI project that was there before Servey: its data, and who may see it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request


@dataclass
class Library:
    """Books and who has borrowed them; open between the beginning and the end of the app."""

    borrowed: dict[str, str | None] = field(default_factory=lambda: {"Dune": None, "Emma": None, "Ulysses": "ada"})
    is_open: bool = True


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, Library]]:
    """The library, for every request's state."""
    library = Library()
    try:
        yield {"library": library}
    finally:
        library.is_open = False


async def library_of(request: Request) -> Library:
    """The app's library."""
    library: Library = request.state.library
    assert library.is_open
    return library


async def member(x_member: Annotated[str | None, Header()] = None) -> str:
    """Who asks, by this project's own means."""
    if x_member is None:
        raise HTTPException(401, "Say who you are in X-Member")
    return x_member


OurLibrary = Annotated[Library, Depends(library_of)]
Member = Annotated[str, Depends(member)]
