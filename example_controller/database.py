"""Users, login sessions and single-use tokens in one SQLite file.

Laws: of a secret only its SHA-256 is stored (of a password its scrypt). Whatever may happen only once is one statement.
Calls wait for the disk: the app makes them all on one worker thread.
"""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

TOKEN_LIFETIME_S = 60.0
SESSION_LIFETIME_S = 8 * 3600.0
BUSY_TIMEOUT_S = 5.0

SCHEMA_VERSION = 1
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, password_hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (hash BLOB PRIMARY KEY, user_name TEXT NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
    hash BLOB PRIMARY KEY, grant_json TEXT NOT NULL, expires_at REAL NOT NULL, used_at REAL
);
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class DatabaseError(Exception):
    """The file cannot be used; the text names it, the reason and the way out."""


class Database:
    """The file at `path`, made when missing. `clock` gives seconds since the epoch."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        try:
            # Autocommit: every statement below is a transaction of its own.
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._connection.executescript(SCHEMA)
        except sqlite3.Error as exc:
            raise DatabaseError(f"{path}: {exc}; name another file with --database") from exc
        if version not in (0, SCHEMA_VERSION):
            raise DatabaseError(f"{path}: schema {version} is not {SCHEMA_VERSION}; name another file with --database")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add_user(self, name: str, password_hash: bytes) -> None:
        """Make the user, or give the one of that name this password."""
        self._connection.execute("INSERT OR REPLACE INTO users VALUES (?, ?)", (name, password_hash))

    def password_hash(self, name: str) -> bytes | None:
        """Return what `passwords.is_password` needs, or None when there is no such user."""
        found: bytes | None = self._first("SELECT password_hash FROM users WHERE name = :name", name=name)
        return found

    def open_session(self, user_name: str) -> str:
        """Log the user in; return the secret for the cookie."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        self._connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
        row = (_hash(secret), user_name, now + SESSION_LIFETIME_S)
        self._connection.execute("INSERT INTO sessions VALUES (?, ?, ?)", row)
        return secret

    def session_user(self, secret: str) -> str | None:
        """Return the name of the user who is logged in with this cookie, or None."""
        query = "SELECT user_name FROM sessions WHERE hash = :hash AND expires_at > :now"
        user_name: str | None = self._first(query, hash=_hash(secret), now=self._clock())
        return user_name

    def close_session(self, secret: str) -> None:
        """Log out."""
        self._connection.execute("DELETE FROM sessions WHERE hash = ?", (_hash(secret),))

    def write_token(self, grant: Mapping[str, object]) -> str:
        """Store leave to run `grant` once, within `TOKEN_LIFETIME_S`; return the token for the page.

        The whole grant is stored, not a reference to a program: what was allowed at the click is what runs.
        """
        token, now = secrets.token_urlsafe(32), self._clock()
        self._connection.execute("DELETE FROM tokens WHERE expires_at <= ?", (now,))
        row = (_hash(token), json.dumps(grant), now + TOKEN_LIFETIME_S)
        self._connection.execute("INSERT INTO tokens VALUES (?, ?, ?, NULL)", row)
        return token

    def use_token(self, token: str) -> str | None:
        """Return the token's grant as JSON: the first time, within its lifetime. Else None."""
        # One statement, so that of any number of askers exactly one gets the row: a SELECT first would let two in.
        statement = """
            UPDATE tokens SET used_at = :now
            WHERE hash = :hash AND used_at IS NULL AND expires_at > :now
            RETURNING grant_json
        """
        grant_json: str | None = self._first(statement, hash=_hash(token), now=self._clock())
        return grant_json

    def _first(self, statement: str, **values: object) -> Any:
        # fetchall, not fetchone: an UPDATE ... RETURNING is over only when all its rows were read.
        rows = self._connection.execute(statement, values).fetchall()
        return rows[0][0] if rows else None


def _hash(secret: str) -> bytes:
    # A plain hash is enough for 256 random bits, which nobody can guess; passwords need scrypt.
    return hashlib.sha256(secret.encode()).digest()
