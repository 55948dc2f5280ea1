"""Background work: `arq benchmarks.peers.conduit_by_hand.jobs.WorkerSettings`."""

from datetime import timedelta
from typing import Any

from arq import Retry, cron, func
from database import Article, Notification, engine, follows, insert_once, now, sessions
from fastapi import APIRouter
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.peers.conduit_by_hand.events import REDIS
from benchmarks.peers.conduit_fastapi.accounts import CurrentUser, Session

router = APIRouter(tags=["notifications"])


async def notify_followers(context: dict[str, Any], article_id: int) -> int:
    """Notify the author's followers. Running it twice is harmless."""
    try:
        async with sessions.begin() as session:
            article = await session.get(Article, article_id)
            if article is None:
                return 0
            followers = list(
                await session.scalars(select(follows.c.follower_id).where(follows.c.followed_id == article.author_id))
            )
            for follower in followers:
                await insert_once(session, Notification, user_id=follower, article_id=article_id, created_at=now())
            return len(followers)
    except SQLAlchemyError as error:
        raise Retry(defer=2 ** context["job_try"]) from error


@router.get("/notifications")
async def list_notifications(session: Session, caller: CurrentUser) -> list[str]:
    """Return the slugs of new articles of the users that the caller follows."""
    mine = select(Article.slug).join(Notification).where(Notification.user_id == caller.id)
    return list(await session.scalars(mine.order_by(Notification.created_at.desc()).limit(100)))


async def forget_notifications(context: dict[str, Any]) -> None:
    """Delete old notifications every night."""
    async with sessions.begin() as session:
        await session.execute(delete(Notification).where(Notification.created_at < now() - timedelta(days=30)))


async def shut_down(context: dict[str, Any]) -> None:
    await engine.dispose()


class WorkerSettings:
    redis_settings = REDIS
    functions = (func(notify_followers, max_tries=5),)
    cron_jobs = (cron(forget_notifications, hour=3, minute=0),)
    on_shutdown = shut_down
