"""GraphQL, and the home page: articles whose authors and comments are loaded in batches, if a query selects them."""

from dataclasses import dataclass
from typing import Annotated, Any

from database import Article, Comment, Session, User
from pydantic import Field
from sqlalchemy import select

from servey import WEB_GET, BatchInvoker, WebPageTrigger, action


@dataclass(frozen=True)
class Author:
    username: str
    bio: str | None


async def load_authors(ids: list[int], session: Session) -> list[Author]:
    """Load the authors of any number of articles and comments with one query."""
    users = await session.scalars(select(User).where(User.id.in_(ids)))
    found = {user.id: Author(user.username, user.bio) for user in users}
    return [found[id] for id in ids]


async def load_comments(article_ids: list[int], session: Session) -> list[list["Remark"]]:
    """Load the comments of any number of articles with one query."""
    comments = await session.scalars(select(Comment).where(Comment.article_id.in_(article_ids)).order_by(Comment.id))
    found: dict[int, list[Remark]] = {id: [] for id in article_ids}
    for comment in comments:
        found[comment.article_id].append(Remark(comment.id, comment.body, comment.author_id))
    return [found[id] for id in article_ids]


def author_id(written: Any) -> list[int]:
    return [written.author_id]


@dataclass(frozen=True)
class Remark:
    """A comment."""

    id: int
    body: str
    author_id: int

    @action(batch_invoker=BatchInvoker(load_authors, arg_extractor=author_id))
    async def author(self, session: Session) -> Author:
        return (await load_authors([self.author_id], session))[0]


@dataclass(frozen=True)
class Post:
    """An article."""

    id: int
    slug: str
    title: str
    description: str
    author_id: int

    @action(batch_invoker=BatchInvoker(load_authors, arg_extractor=author_id))
    async def author(self, session: Session) -> Author:
        return (await load_authors([self.author_id], session))[0]

    @action(batch_invoker=BatchInvoker(load_comments, arg_extractor=lambda post: [post.id]))
    async def comments(self, session: Session) -> list[Remark]:
        return (await load_comments([self.id], session))[0]


@action(triggers=(WEB_GET, WebPageTrigger(path="/", template_name="home.j2")), tags=("articles",))
async def posts(session: Session, limit: Annotated[int, Field(ge=1, le=50)] = 20) -> list[Post]:
    """Return the latest articles."""
    latest = await session.scalars(select(Article).order_by(Article.id.desc()).limit(limit))
    return [Post(each.id, each.slug, each.title, each.description, each.author_id) for each in latest]
