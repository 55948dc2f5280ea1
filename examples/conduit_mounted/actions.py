"""Articles, with the project's session and users: REST, GraphQL, jobs and events."""

from typing import Annotated

from blog import Article, CurrentUser, Session
from event_channels import published
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select

from servey import Context, Cursor, Page, WebTrigger, action
from servey.keyset import select_page


class ArticleView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    author: str
    title: str
    words: int | None


@action(triggers=WebTrigger("GET", "/articles"))
async def articles(
    session: Session, after: Cursor | None = None, first: Annotated[int, Field(ge=1, le=100)] = 20
) -> Page[ArticleView]:
    """Return all articles, the latest first."""
    page = await select_page(session, select(Article), order_by=(Article.id.desc(),), after=after, first=first)
    return page.map(ArticleView.model_validate)


@action(triggers=WebTrigger("POST", "/articles"), status_code=201)
async def write_article(
    title: Annotated[str, Field(min_length=1, max_length=200)], user: CurrentUser, session: Session, context: Context
) -> ArticleView:
    """Publish an article. The event and the job come after the commit, and not at all if it fails."""
    article = Article(author=user.name, title=title)
    session.add(article)
    await session.flush()
    await published.publish(title, on_success=True)
    await context.enqueue(count_words, {"article_id": article.id}, on_success=True)
    return ArticleView.model_validate(article)


@action
async def count_words(article_id: int, session: Session) -> None:
    """Count the words of a title, in the background."""
    article = await session.get(Article, article_id)
    if article is not None:
        article.words = len(article.title.split())


@action(triggers=WebTrigger("POST", "/report"))
async def report(user: CurrentUser, session: Session) -> int:
    """Return how many words the caller wrote. It may take long, so send `Prefer: respond-async`."""
    mine = select(func.sum(Article.words)).where(Article.author == user.name)
    return await session.scalar(mine) or 0
