"""The operations of the REST API as fields of GraphQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import strawberry
import views
from database import User, sessions
from fastapi import HTTPException
from graphql import GraphQLError
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from strawberry.experimental import pydantic

from benchmarks.peers.conduit_by_hand import create, events, jobs
from benchmarks.peers.conduit_fastapi import articles, users
from benchmarks.peers.conduit_fastapi.accounts import known_user, user_of


@dataclass
class Caller:
    """One call: its own session, because the fields of a query run concurrently, and its user."""

    session: AsyncSession
    viewer: User | None

    @property
    def user(self) -> User:
        return known_user(self.viewer)


@asynccontextmanager
async def call(info: strawberry.Info) -> AsyncIterator[Caller]:
    try:
        async with sessions.begin() as session:
            yield Caller(session, await user_of(info.context.request or info.context.connection, session))
    except HTTPException as error:
        raise GraphQLError("Refused", extensions={"status": error.status_code, "detail": error.detail}) from error
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)
        raise GraphQLError("Invalid", extensions={"status": 422, "detail": detail}) from error


@pydantic.type(views.Account, all_fields=True)
class Account: ...


@pydantic.type(views.Profile, all_fields=True)
class Profile: ...


@pydantic.type(views.ArticleView, all_fields=True)
class ArticleView: ...


@pydantic.type(views.Articles, all_fields=True)
class Articles: ...


@pydantic.type(views.CommentView, all_fields=True)
class CommentView: ...


@pydantic.input(views.NewUser, all_fields=True)
class NewUser: ...


@pydantic.input(views.Credentials, all_fields=True)
class Credentials: ...


@pydantic.input(views.UserChange, all_fields=True)
class UserChange: ...


@pydantic.input(views.NewArticle, all_fields=True)
class NewArticle: ...


@pydantic.input(views.ArticleChange, all_fields=True)
class ArticleChange: ...


@pydantic.input(views.NewComment, all_fields=True)
class NewComment: ...


def checked(limit: int, most: int = 100) -> int:
    if not 1 <= limit <= most:
        raise HTTPException(422, {"limit": [f"is not between 1 and {most}"]})
    return limit


@strawberry.type
class Query:
    @strawberry.field
    async def get_current_user(self, info: strawberry.Info) -> Account:
        async with call(info) as caller:
            return Account.from_pydantic(users.account(caller.user).user)

    @strawberry.field
    async def get_profile(self, info: strawberry.Info, username: str) -> Profile:
        async with call(info) as caller:
            found = await users.get_profile(username, caller.session, caller.viewer)
            return Profile.from_pydantic(found.profile)

    @strawberry.field
    async def list_articles(
        self,
        info: strawberry.Info,
        tag: str | None = None,
        author: str | None = None,
        favorited: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> Articles:
        async with call(info) as caller:
            found = await articles.list_articles(
                caller.session, caller.viewer, tag, author, favorited, checked(limit), max(offset, 0)
            )
            return Articles.from_pydantic(found)

    @strawberry.field
    async def feed(self, info: strawberry.Info, limit: int = 20, offset: int = 0) -> Articles:
        async with call(info) as caller:
            found = await articles.feed(caller.session, caller.user, checked(limit), max(offset, 0))
            return Articles.from_pydantic(found)

    @strawberry.field
    async def get_article(self, info: strawberry.Info, slug: str) -> ArticleView:
        async with call(info) as caller:
            found = await articles.get_article(slug, caller.session, caller.viewer)
            return ArticleView.from_pydantic(found.article)

    @strawberry.field
    async def list_comments(self, info: strawberry.Info, slug: str) -> list[CommentView]:
        async with call(info) as caller:
            found = await articles.list_comments(slug, caller.session, caller.viewer)
            return [CommentView.from_pydantic(comment) for comment in found.comments]

    @strawberry.field
    async def list_tags(self, info: strawberry.Info) -> list[str]:
        async with call(info) as caller:
            return (await articles.list_tags(caller.session)).tags

    @strawberry.field
    async def list_notifications(self, info: strawberry.Info) -> list[str]:
        async with call(info) as caller:
            return await jobs.list_notifications(caller.session, caller.user)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def register(self, info: strawberry.Info, user: NewUser) -> Account:
        async with call(info) as caller:
            return Account.from_pydantic((await users.register(user.to_pydantic(), caller.session)).user)

    @strawberry.mutation
    async def log_in(self, info: strawberry.Info, user: Credentials) -> Account:
        async with call(info) as caller:
            return Account.from_pydantic((await users.log_in(user.to_pydantic(), caller.session)).user)

    @strawberry.mutation
    async def update_current_user(self, info: strawberry.Info, user: UserChange) -> Account:
        async with call(info) as caller:
            changes = views.UserChange(**{name: value for name, value in vars(user).items() if value is not None})
            changed = await users.update_current_user(changes, caller.user, caller.session)
            return Account.from_pydantic(changed.user)

    @strawberry.mutation
    async def follow(self, info: strawberry.Info, username: str) -> Profile:
        async with call(info) as caller:
            found = await users.follow(username, caller.session, caller.user)
            return Profile.from_pydantic(found.profile)

    @strawberry.mutation
    async def unfollow(self, info: strawberry.Info, username: str) -> Profile:
        async with call(info) as caller:
            found = await users.unfollow(username, caller.session, caller.user)
            return Profile.from_pydantic(found.profile)

    @strawberry.mutation
    async def create_article(self, info: strawberry.Info, article: NewArticle) -> ArticleView:
        async with call(info) as caller:
            new, event = await create.insert(caller.session, article.to_pydantic(), caller.user)
            made = await articles.one(caller.session, new, caller.user)
        connection = info.context.request or info.context.connection
        await events.announce(connection.app.state.redis, new.id, event)
        return ArticleView.from_pydantic(made.article)

    @strawberry.mutation
    async def update_article(self, info: strawberry.Info, slug: str, article: ArticleChange) -> ArticleView:
        async with call(info) as caller:
            changed = await articles.update_article(slug, article.to_pydantic(), caller.session, caller.user)
            return ArticleView.from_pydantic(changed.article)

    @strawberry.mutation
    async def delete_article(self, info: strawberry.Info, slug: str) -> None:
        async with call(info) as caller:
            await articles.delete_article(slug, caller.session, caller.user)

    @strawberry.mutation
    async def favorite(self, info: strawberry.Info, slug: str) -> ArticleView:
        async with call(info) as caller:
            found = await articles.favorite(slug, caller.session, caller.user)
            return ArticleView.from_pydantic(found.article)

    @strawberry.mutation
    async def unfavorite(self, info: strawberry.Info, slug: str) -> ArticleView:
        async with call(info) as caller:
            found = await articles.unfavorite(slug, caller.session, caller.user)
            return ArticleView.from_pydantic(found.article)

    @strawberry.mutation
    async def add_comment(self, info: strawberry.Info, slug: str, comment: NewComment) -> CommentView:
        async with call(info) as caller:
            added = await articles.add_comment(slug, comment.to_pydantic(), caller.session, caller.user)
            return CommentView.from_pydantic(added.comment)

    @strawberry.mutation
    async def delete_comment(self, info: strawberry.Info, slug: str, id: int) -> None:
        async with call(info) as caller:
            await articles.delete_comment(slug, id, caller.session, caller.user)
