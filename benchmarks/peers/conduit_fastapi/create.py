"""Publishing an article."""

from typing import Annotated

from database import Article, Session, Tag
from fastapi import APIRouter, Body
from views import NewArticle, OneArticle

from benchmarks.peers.conduit_fastapi.accounts import CurrentUser
from benchmarks.peers.conduit_fastapi.articles import one, slug_of

router = APIRouter(tags=["articles"])


@router.post("/articles", status_code=201)
async def create_article(
    article: Annotated[NewArticle, Body(embed=True)], session: Session, caller: CurrentUser
) -> OneArticle:
    """Publish an article."""
    tags = [Tag(name=name) for name in sorted(set(article.tag_list))]
    values = article.model_dump(exclude={"tag_list"})
    new = Article(**values, slug=slug_of(article.title), author=caller, tags=tags)
    session.add(new)
    await session.flush()
    return await one(session, new, caller)
