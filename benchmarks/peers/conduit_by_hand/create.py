"""Publishing an article."""

from typing import Annotated

from database import Article, Session, Tag, User
from fastapi import APIRouter, BackgroundTasks, Body, Request
from sqlalchemy.ext.asyncio import AsyncSession
from views import NewArticle, OneArticle

from benchmarks.peers.conduit_by_hand.events import Published, announce
from benchmarks.peers.conduit_fastapi.accounts import CurrentUser
from benchmarks.peers.conduit_fastapi.articles import one, slug_of

router = APIRouter(tags=["articles"])


async def insert(session: AsyncSession, article: NewArticle, caller: User) -> tuple[Article, Published]:
    tags = [Tag(name=name) for name in sorted(set(article.tag_list))]
    values = article.model_dump(exclude={"tag_list"})
    new = Article(**values, slug=slug_of(article.title), author=caller, tags=tags)
    session.add(new)
    await session.flush()
    return new, Published(slug=new.slug, title=new.title, author=caller.username)


@router.post("/articles", status_code=201)
async def create_article(
    article: Annotated[NewArticle, Body(embed=True)],
    session: Session,
    caller: CurrentUser,
    request: Request,
    background: BackgroundTasks,
) -> OneArticle:
    """Publish an article."""
    new, event = await insert(session, article, caller)
    # Background tasks run after the session has committed, so that subscribers and the job can read the article.
    background.add_task(announce, request.app.state.redis, new.id, event)
    return await one(session, new, caller)
