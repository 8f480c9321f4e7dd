"""The table of jobs.

Laws of all migrations: never changed once released; they do not import the tables as they are now.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "jobs",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("door", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("args", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("retention", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("expires_at", sa.Float(53)),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("exit_code", sa.Integer),
        sa.Column("signal", sa.Integer),
        sa.Column("stdout_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("stderr_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("stdout_sha256", sa.String(64), nullable=False, server_default=""),
        sa.Column("stderr_sha256", sa.String(64), nullable=False, server_default=""),
        sa.Column("is_cut", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("session", sa.String(64), nullable=False, server_default=""),
        sa.Column("ttl_s", sa.Float(53), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
    )
    op.create_index("jobs_by_key", "jobs", ["door", "name", "key"], unique=True)
    op.create_index("jobs_by_state", "jobs", ["state"])
    op.create_index("jobs_by_expiry", "jobs", ["expires_at"])
    op.create_index("jobs_by_end", "jobs", ["ended_at"])
