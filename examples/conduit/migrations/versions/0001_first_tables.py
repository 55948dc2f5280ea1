"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def id_column(name: str, references: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.ForeignKey(references, ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String, nullable=False, unique=True),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("bio", sa.String),
        sa.Column("image", sa.String),
    )
    op.create_table(
        "articles",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String, nullable=False, unique=True),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        id_column("author_id", "users.id"),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "comments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("body", sa.String, nullable=False),
        id_column("article_id", "articles.id"),
        id_column("author_id", "users.id"),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "tags",
        id_column("article_id", "articles.id"),
        sa.Column("name", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("article_id", "name"),
    )
    op.create_table(
        "follows",
        id_column("follower_id", "users.id"),
        id_column("followed_id", "users.id"),
        sa.PrimaryKeyConstraint("follower_id", "followed_id"),
    )
    op.create_table(
        "favorites",
        id_column("user_id", "users.id"),
        id_column("article_id", "articles.id"),
        sa.PrimaryKeyConstraint("user_id", "article_id"),
    )
    op.create_table(
        "notifications",
        id_column("user_id", "users.id"),
        id_column("article_id", "articles.id"),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "article_id"),
    )
    for table, column in (
        ("articles", "author_id"),
        ("articles", "created_at"),
        ("comments", "article_id"),
        ("tags", "name"),
        ("follows", "followed_id"),
        ("favorites", "article_id"),
        ("notifications", "created_at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in ("notifications", "favorites", "follows", "tags", "comments", "articles", "users"):
        op.drop_table(table)
