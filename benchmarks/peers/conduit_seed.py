"""A database for the RealWorld example: two users, of whom one follows the other, who has 20 articles."""

import asyncio
import atexit
import os
import shutil
import sys
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.peers.model import SECRET

EXAMPLE = Path(__file__).parents[2] / "examples" / "conduit"


def prepare() -> None:
    """Create a database of this process, and make the modules of the example importable."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["CONDUIT_DATABASE_URL"] = f"sqlite+aiosqlite:///{folder}/conduit.db"
    os.environ["JWT_SECRET_KEY"] = SECRET
    sys.path.insert(0, str(EXAMPLE))
    os.chdir(EXAMPLE)
    # An event loop may run in this thread already.
    seeding = threading.Thread(target=lambda: asyncio.run(_seed()))
    seeding.start()
    seeding.join()


async def _seed() -> None:
    from database import Article, Base, Tag, User, engine, follows, sessions  # type: ignore[import-not-found]

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions.begin() as session:
        for number, name in enumerate(("ada", "bob"), 1):
            session.add(User(id=number, username=name, email=f"{name}@example.org", password_hash="-", bio=name))
        await session.flush()
        await session.execute(follows.insert().values(follower_id=1, followed_id=2))
        for number in range(20):
            at = datetime(2026, 1, 1) + timedelta(minutes=number)
            session.add(
                Article(
                    slug=f"article-{number}",
                    title=f"Article {number}",
                    description="What it is about",
                    body="word " * 100,
                    author_id=2,
                    created_at=at,
                    updated_at=at,
                    tags=[Tag(name="all"), Tag(name=f"tag-{number % 5}")],
                )
            )
    await engine.dispose()
