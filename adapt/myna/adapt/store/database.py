"""The SQLite file under the data directory: opened, brought up to date, written in whole transactions.

WAL, so that the server writes while the worker reads; `synchronous=FULL`, so that what is committed survives a power
cut; `secure_delete`, so that what is forgotten is overwritten.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from myna.models.errors import MynaError

NAME = "store.sqlite3"
BUSY_MS = 10_000  # how long a writer waits for another
SCHEMA = (
    """
    CREATE TABLE speakers (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        folder TEXT NOT NULL UNIQUE,        -- under speakers/, random: no user text becomes a path
        created_s REAL NOT NULL
    );
    CREATE TABLE utterances (
        id TEXT PRIMARY KEY,                -- random; its file is the id with .flac
        speaker INTEGER NOT NULL REFERENCES speakers ON DELETE CASCADE,
        session TEXT NOT NULL,
        utterance TEXT NOT NULL,
        samples INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        heard TEXT NOT NULL,                -- what the model understood
        text TEXT NOT NULL,                 -- what is learnt from: corrected, or as heard
        source TEXT NOT NULL,
        confidence REAL NOT NULL,
        consent TEXT NOT NULL,
        model TEXT NOT NULL,
        adapter TEXT,
        created_s REAL NOT NULL,
        UNIQUE (session, utterance)
    );
    CREATE INDEX utterances_of ON utterances (speaker, created_s);
    """,
    """
    CREATE TABLE versions (
        id INTEGER PRIMARY KEY,
        speaker INTEGER NOT NULL REFERENCES speakers ON DELETE CASCADE,
        version TEXT,                       -- of an adapter that passed the gate
        reason TEXT,                        -- why a candidate did not
        model TEXT NOT NULL,
        report TEXT NOT NULL,               -- JSON
        created_s REAL NOT NULL,
        UNIQUE (speaker, version),
        CHECK ((version IS NULL) <> (reason IS NULL))
    );
    ALTER TABLE speakers ADD COLUMN in_use TEXT;
    """,
    """
    CREATE TABLE rounds (
        id INTEGER PRIMARY KEY,
        speaker INTEGER NOT NULL REFERENCES speakers ON DELETE CASCADE,
        began_s REAL NOT NULL,
        ended_s REAL,                       -- none: it is under way, or its process died
        error TEXT
    );
    -- when it was kept or corrected last
    ALTER TABLE utterances ADD COLUMN changed_s REAL NOT NULL DEFAULT 0;
    UPDATE utterances SET changed_s = created_s;
    """,
)


class StoreError(MynaError):
    """The store can't do what it was asked to; says what is wrong and what to do."""

    code = "store"


class Database:
    """One connection, for use by any thread, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{folder}: can't open the store ({error}); is it writable, and on a local disk?"
            ) from None

    def _migrate(self) -> None:
        with self.writing() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(SCHEMA):
                raise StoreError(f"{self.path}: was written by a newer Myna; update this one")
            for number, script in enumerate(SCHEMA[version:], version + 1):
                for statement in filter(str.strip, script.split(";\n")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Do all of it or nothing; durable when the context ends."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Read. Raises StoreError."""
        with self._lock:
            try:
                found: list[sqlite3.Row] = self._connection.execute(query, values).fetchall()
            except UnicodeEncodeError:  # half a character, in a name that is no UTF-8: nothing is kept under it
                return []
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: can't be read ({error}); is the disk in order?") from None
            return found

    def scrub(self) -> None:
        """Leave no byte of deleted rows behind: neither in free pages nor in the log of changes."""
        with self._lock:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close; committed changes are kept."""
        with self._lock:
            self._connection.close()
