"""GraphQL: articles whose authors and comments are loaded in batches, and new articles as a subscription."""

from collections.abc import AsyncIterator

import strawberry
from database import Article, Comment, User, sessions
from graphql import GraphQLError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from strawberry.dataloader import DataLoader
from strawberry.experimental import pydantic
from strawberry.extensions import MaskErrors, MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.fastapi import BaseContext, GraphQLRouter

from benchmarks.peers.conduit_by_hand import events, operations


@pydantic.type(events.Published, all_fields=True)
class Published: ...


@strawberry.type
class Author:
    username: str
    bio: str | None


@strawberry.type
class Remark:
    """A comment."""

    id: int
    body: str
    author_id: int

    @strawberry.field
    async def author(self, info: strawberry.Info) -> Author:
        return await info.context.authors.load(self.author_id)


@strawberry.type
class Post:
    """An article."""

    id: int
    slug: str
    title: str
    description: str
    author_id: int

    @strawberry.field
    async def author(self, info: strawberry.Info) -> Author:
        return await info.context.authors.load(self.author_id)

    @strawberry.field
    async def comments(self, info: strawberry.Info) -> list[Remark]:
        return await info.context.comments.load(self.id)


async def load_authors(ids: list[int]) -> list[Author]:
    """Load the authors of any number of articles and comments with one query."""
    async with sessions() as session:
        users = await session.scalars(select(User).where(User.id.in_(ids)))
        found = {user.id: Author(username=user.username, bio=user.bio) for user in users}
    return [found[id] for id in ids]


async def load_comments(article_ids: list[int]) -> list[list[Remark]]:
    """Load the comments of any number of articles with one query."""
    found: dict[int, list[Remark]] = {id: [] for id in article_ids}
    async with sessions() as session:
        chosen = select(Comment).where(Comment.article_id.in_(article_ids)).order_by(Comment.id)
        for comment in await session.scalars(chosen):
            remark = Remark(id=comment.id, body=comment.body, author_id=comment.author_id)
            found[comment.article_id].append(remark)
    return [found[id] for id in article_ids]


class Context(BaseContext):
    """What the fields of one operation share."""

    def __init__(self) -> None:
        super().__init__()
        self.authors = DataLoader(load_authors)
        self.comments = DataLoader(load_comments)


async def latest_posts(session: AsyncSession, limit: int) -> list[Post]:
    latest = await session.scalars(select(Article).order_by(Article.id.desc()).limit(limit))
    return [
        Post(id=each.id, slug=each.slug, title=each.title, description=each.description, author_id=each.author_id)
        for each in latest
    ]


@strawberry.type
class Query(operations.Query):
    @strawberry.field
    async def posts(self, limit: int = 20) -> list[Post]:
        async with sessions() as session:
            return await latest_posts(session, min(max(limit, 1), 50))


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def published(self, info: strawberry.Info) -> AsyncIterator[Published]:
        connection = info.context.request or info.context.connection
        async for event in events.published(connection.app.state.redis):
            yield Published.from_pydantic(event)


def is_unexpected(error: GraphQLError) -> bool:
    return error.original_error is not None and not isinstance(error.original_error, GraphQLError)


schema = strawberry.Schema(
    Query,
    operations.Mutation,
    Subscription,
    extensions=[
        lambda: MaskErrors(is_unexpected),
        lambda: QueryDepthLimiter(10),
        lambda: MaxAliasesLimiter(30),
        lambda: MaxTokensLimiter(2000),
    ],
)
router = GraphQLRouter(schema, context_getter=Context)
