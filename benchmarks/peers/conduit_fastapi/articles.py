"""Articles, favorites, comments, tags."""

import re
import secrets
from typing import Annotated

from database import Article, Comment, Session, Tag, User, favorites, follows, insert_once
from fastapi import APIRouter, Body, HTTPException
from pydantic import Field
from sqlalchemy import Select, delete, func, select
from views import (
    ArticleChange,
    Articles,
    Comments,
    NewComment,
    OneArticle,
    OneComment,
    Tags,
    comment_views,
    views_of,
)

from benchmarks.peers.conduit_fastapi.accounts import CurrentUser, Viewer

router = APIRouter()

Limit = Annotated[int, Field(ge=1, le=100)]
Offset = Annotated[int, Field(ge=0, le=1_000_000)]


def slug_of(title: str) -> str:
    words = "-".join(re.findall(r"[^\W_]+", title.lower()))
    return f"{words[:100]}-{secrets.token_hex(4)}".lstrip("-")


async def find(session: Session, slug: str) -> Article:
    article = await session.scalar(select(Article).where(Article.slug == slug))
    if article is None:
        raise HTTPException(404, "There is no such article")
    return article


async def find_own(session: Session, slug: str, caller: User) -> Article:
    article = await find(session, slug)
    if article.author_id != caller.id:
        raise HTTPException(403, "This article has another author")
    return article


async def one(session: Session, article: Article, viewer: User | None) -> OneArticle:
    return OneArticle(article=(await views_of(session, [article], viewer))[0])


async def page_of(
    session: Session, query: Select[tuple[Article]], viewer: User | None, limit: int, offset: int
) -> Articles:
    count = await session.scalar(select(func.count()).select_from(query.subquery())) or 0
    latest = query.order_by(Article.created_at.desc(), Article.id.desc()).limit(limit).offset(offset)
    found = (await session.scalars(latest)).all()
    return Articles(articles=await views_of(session, found, viewer), articles_count=count)


@router.get("/articles", tags=["articles"])
async def list_articles(
    session: Session,
    viewer: Viewer,
    tag: str | None = None,
    author: str | None = None,
    favorited: str | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Articles:
    """Return the latest articles, all of them or by tag, author or the user whose favorites they are."""
    query = select(Article)
    if tag is not None:
        query = query.where(Article.tags.any(Tag.name == tag))
    if author is not None:
        query = query.where(Article.author.has(User.username == author))
    if favorited is not None:
        users = select(favorites.c.article_id).join(User).where(User.username == favorited)
        query = query.where(Article.id.in_(users))
    return await page_of(session, query, viewer, limit, offset)


@router.get("/articles/feed", tags=["articles"])
async def feed(session: Session, caller: CurrentUser, limit: Limit = 20, offset: Offset = 0) -> Articles:
    """Return the latest articles of the users that the caller follows."""
    followed = select(follows.c.followed_id).where(follows.c.follower_id == caller.id)
    return await page_of(session, select(Article).where(Article.author_id.in_(followed)), caller, limit, offset)


@router.get("/articles/{slug}", tags=["articles"])
async def get_article(slug: str, session: Session, viewer: Viewer) -> OneArticle:
    """Return one article."""
    return await one(session, await find(session, slug), viewer)


@router.put("/articles/{slug}", tags=["articles"])
async def update_article(
    slug: str, article: Annotated[ArticleChange, Body(embed=True)], session: Session, caller: CurrentUser
) -> OneArticle:
    """Change the fields that are sent. A new title makes a new slug."""
    own = await find_own(session, slug, caller)
    for name, value in article.model_dump(exclude_none=True).items():
        setattr(own, name, value)
    if article.title is not None:
        own.slug = slug_of(article.title)
    await session.flush()
    return await one(session, own, caller)


@router.delete("/articles/{slug}", status_code=204, tags=["articles"])
async def delete_article(slug: str, session: Session, caller: CurrentUser) -> None:
    """Delete an article and its comments."""
    await session.delete(await find_own(session, slug, caller))


@router.post("/articles/{slug}/favorite", tags=["favorites"])
async def favorite(slug: str, session: Session, caller: CurrentUser) -> OneArticle:
    """Add an article to the caller's favorites."""
    article = await find(session, slug)
    await insert_once(session, favorites, user_id=caller.id, article_id=article.id)
    return await one(session, article, caller)


@router.delete("/articles/{slug}/favorite", tags=["favorites"])
async def unfavorite(slug: str, session: Session, caller: CurrentUser) -> OneArticle:
    """Remove an article from the caller's favorites."""
    article = await find(session, slug)
    is_it = (favorites.c.user_id == caller.id) & (favorites.c.article_id == article.id)
    await session.execute(delete(favorites).where(is_it))
    return await one(session, article, caller)


@router.get("/articles/{slug}/comments", tags=["comments"])
async def list_comments(slug: str, session: Session, viewer: Viewer) -> Comments:
    """Return the latest comments on an article, 100 at most."""
    article = await find(session, slug)
    latest = select(Comment).where(Comment.article_id == article.id).order_by(Comment.id.desc()).limit(100)
    return Comments(comments=await comment_views(session, (await session.scalars(latest)).all(), viewer))


@router.post("/articles/{slug}/comments", tags=["comments"])
async def add_comment(
    slug: str, comment: Annotated[NewComment, Body(embed=True)], session: Session, caller: CurrentUser
) -> OneComment:
    """Comment on an article."""
    article = await find(session, slug)
    new = Comment(body=comment.body, article_id=article.id, author=caller)
    session.add(new)
    await session.flush()
    return OneComment(comment=(await comment_views(session, [new], caller))[0])


@router.delete("/articles/{slug}/comments/{id}", status_code=204, tags=["comments"])
async def delete_comment(
    slug: str, id: Annotated[int, Field(ge=1, le=2**31 - 1)], session: Session, caller: CurrentUser
) -> None:
    """Delete one of the caller's comments."""
    comment = await session.get(Comment, id)
    if comment is None or comment.article_id != (await find(session, slug)).id:
        raise HTTPException(404, "There is no such comment")
    if comment.author_id != caller.id:
        raise HTTPException(403, "This comment has another author")
    await session.delete(comment)


@router.get("/tags", tags=["tags"])
async def list_tags(session: Session) -> Tags:
    """Return the most frequent tags."""
    frequent = select(Tag.name).group_by(Tag.name).order_by(func.count().desc(), Tag.name).limit(100)
    return Tags(tags=list(await session.scalars(frequent)))
