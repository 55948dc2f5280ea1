"""Background work: a job after each new article, and a schedule."""

from datetime import timedelta

from accounts import CurrentUser
from database import Article, Notification, Session, follows, insert_once, now
from sqlalchemy import delete, select

from servey import CronTrigger, Retry, WebTrigger, action


@action(retry=Retry(max_tries=5), tags=("notifications",))
async def notify_followers(article_id: int, session: Session) -> int:
    """Notify the author's followers. Running it twice is harmless."""
    article = await session.get(Article, article_id)
    if article is None:
        return 0
    followers = list(
        await session.scalars(select(follows.c.follower_id).where(follows.c.followed_id == article.author_id))
    )
    for follower in followers:
        await insert_once(session, Notification, user_id=follower, article_id=article_id, created_at=now())
    return len(followers)


@action(triggers=WebTrigger("GET", "/api/notifications"), tags=("notifications",))
async def list_notifications(session: Session, caller: CurrentUser) -> list[str]:
    """Return the slugs of new articles of the users that the caller follows."""
    mine = select(Article.slug).join(Notification).where(Notification.user_id == caller.id)
    return list(await session.scalars(mine.order_by(Notification.created_at.desc()).limit(100)))


@action(triggers=CronTrigger("0 3 * * *"), tags=("notifications",))
async def forget_notifications(session: Session) -> None:
    """Delete old notifications every night."""
    await session.execute(delete(Notification).where(Notification.created_at < now() - timedelta(days=30)))
