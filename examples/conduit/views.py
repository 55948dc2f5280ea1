"""What clients send and receive."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from database import Article, Comment, User, favorites, follows
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy import Column, func, select
from sqlalchemy.ext.asyncio import AsyncSession

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Email = Annotated[str, StringConstraints(to_lower=True, max_length=200, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Password = Annotated[str, Field(min_length=8, max_length=200)]
Moment = Annotated[
    datetime, PlainSerializer(lambda moment: moment.isoformat(timespec="milliseconds") + "Z", return_type=str)
]


class View(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class NewUser(View):
    username: Line
    email: Email
    password: Password


class Credentials(View):
    email: str
    password: Annotated[str, Field(max_length=200)]


class UserChange(View):
    username: Line | None = None
    email: Email | None = None
    password: Password | None = None
    bio: Annotated[str, Field(max_length=5000)] | None = None
    image: Annotated[str, Field(max_length=2000)] | None = None


class Account(View):
    username: str
    email: str
    bio: str | None
    image: str | None
    token: str


class Profile(View):
    username: str
    bio: str | None
    image: str | None
    following: bool = False


class NewArticle(View):
    title: Line
    description: Line
    body: Text
    tag_list: Annotated[list[Line], Field(max_length=20)] = []


class ArticleChange(View):
    title: Line | None = None
    description: Line | None = None
    body: Text | None = None


class ArticleView(View):
    slug: str
    title: str
    description: str
    body: str
    tag_list: list[str]
    created_at: Moment
    updated_at: Moment
    favorited: bool
    favorites_count: int
    author: Profile


class NewComment(View):
    body: Text


class CommentView(View):
    id: int
    body: str
    created_at: Moment
    updated_at: Moment
    author: Profile


class OneUser(View):
    user: Account


class OneProfile(View):
    profile: Profile


class OneArticle(View):
    article: ArticleView


class Articles(View):
    articles: list[ArticleView]
    articles_count: int


class OneComment(View):
    comment: CommentView


class Comments(View):
    comments: list[CommentView]


class Tags(View):
    tags: list[str]


async def _chosen(session: AsyncSession, chosen: Column[Any], by: Column[Any], viewer: User | None) -> set[int]:
    """Return the ids that the viewer follows, or has as favorites."""
    return set(await session.scalars(select(chosen).where(by == viewer.id))) if viewer else set()


def _profile(user: User, followed: set[int]) -> Profile:
    return Profile.model_validate(user).model_copy(update={"following": user.id in followed})


async def profile_of(session: AsyncSession, user: User, viewer: User | None) -> Profile:
    return _profile(user, await _chosen(session, follows.c.followed_id, follows.c.follower_id, viewer))


async def views_of(session: AsyncSession, articles: Sequence[Article], viewer: User | None) -> list[ArticleView]:
    """Return the articles as the viewer sees them, with three queries for any number of articles."""
    id_, ids = favorites.c.article_id, [article.id for article in articles]
    counted = await session.execute(select(id_, func.count()).where(id_.in_(ids)).group_by(id_))
    counts = dict(counted.all())
    mine = await _chosen(session, id_, favorites.c.user_id, viewer)
    followed = await _chosen(session, follows.c.followed_id, follows.c.follower_id, viewer)
    return [
        ArticleView(
            slug=article.slug,
            title=article.title,
            description=article.description,
            body=article.body,
            tag_list=[tag.name for tag in article.tags],
            created_at=article.created_at,
            updated_at=article.updated_at,
            favorited=article.id in mine,
            favorites_count=counts.get(article.id, 0),
            author=_profile(article.author, followed),
        )
        for article in articles
    ]


async def comment_views(session: AsyncSession, comments: Sequence[Comment], viewer: User | None) -> list[CommentView]:
    followed = await _chosen(session, follows.c.followed_id, follows.c.follower_id, viewer)
    return [
        CommentView.model_validate(comment).model_copy(update={"author": _profile(comment.author, followed)})
        for comment in comments
    ]
