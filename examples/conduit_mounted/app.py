"""An existing FastAPI app. Only the last line is new."""

from blog import Article, CurrentUser, Session, User, current_name, lifespan
from fastapi import FastAPI
from sqlalchemy import func, select

from servey import Servey

api = FastAPI(title="Blog", lifespan=lifespan)


@api.post("/users", status_code=201)
async def register(name: str, session: Session) -> str:
    """Create a user and return their token."""
    user = User(name=name)
    session.add(user)
    await session.flush()
    return user.token


@api.get("/me")
async def me(user: CurrentUser, session: Session) -> dict[str, int | str]:
    """Return who calls, and how much they wrote."""
    count = select(func.count()).select_from(Article).where(Article.author == user.name)
    return {"name": user.name, "articles": await session.scalar(count) or 0}


# The jobs of a request belong to the project's own user.
Servey().install(api, prefix="/servey", job_owner=current_name)
