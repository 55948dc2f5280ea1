"""An existing FastAPI app. Only the last line is new."""

from fastapi import FastAPI, Request, Response
from library import Member, OurLibrary, lifespan

from servey import Servey

api = FastAPI(title="Library", lifespan=lifespan)


@api.middleware("http")
async def sign(request: Request, call_next) -> Response:  # type: ignore[no-untyped-def]
    """The project's own middleware."""
    response: Response = await call_next(request)
    response.headers["X-Library"] = "open"
    return response


@api.get("/shelf")
async def shelf(library: OurLibrary, who: Member) -> list[str]:
    """Return the books that a member has borrowed."""
    return [title for title, borrower in library.borrowed.items() if borrower == who]


Servey().install(api, prefix="/servey")
