"""Runs the migrations on the database of the app: `alembic upgrade head`. With `--sql` it prints them instead."""

import asyncio

from alembic import context
from database import URL, Base, engine
from sqlalchemy import Connection


def migrate(connection: Connection) -> None:
    # SQLite cannot alter a column: a batch copies the table.
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def migrate_database() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.is_offline_mode():
    context.configure(url=URL, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(migrate_database())
