"""The table of jobs: one row each, from before its acceptance is told to after its result was forgotten."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

# Migrations make it (`migrations/versions`); that both are the same is held by tests/store/test_migrations.py.
jobs = Table(
    "jobs",
    metadata,
    # In the order of their acceptance. SQLite counts only what is called INTEGER.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("door", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    Column("principal", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("command", Text, nullable=False),
    Column("args", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("retention", String(16), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("ended_at", Float(53)),
    Column("expires_at", Float(53)),
    Column("error", Text, nullable=False, server_default=""),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("stdout_bytes", BigInteger, nullable=False, server_default="0"),
    Column("stderr_bytes", BigInteger, nullable=False, server_default="0"),
    Column("stdout_sha256", String(64), nullable=False, server_default=""),
    Column("stderr_sha256", String(64), nullable=False, server_default=""),
    Column("is_cut", Boolean(create_constraint=False), nullable=False),
    Column("session", String(64), nullable=False, server_default=""),
    # What a start after a restart needs besides.
    Column("ttl_s", Float(53), nullable=False),
    Column("plan", Text, nullable=False),
    Index("jobs_by_key", "door", "name", "key", unique=True),
    Index("jobs_by_state", "state"),
    Index("jobs_by_expiry", "expires_at"),
    Index("jobs_by_end", "ended_at"),
)
