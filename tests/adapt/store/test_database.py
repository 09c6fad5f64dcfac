"""The database file: versions, whole transactions."""

import sqlite3
from pathlib import Path

import pytest

from myna.adapt.store.database import NAME, Database, StoreError

SPEAKER = "INSERT INTO speakers (name, folder, created_s) VALUES ('anna', 'f', 0)"


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    Database(tmp_path).close()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="newer Myna"):
        Database(tmp_path)


def test_all_or_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with pytest.raises(sqlite3.IntegrityError), database.writing() as connection:
        connection.executemany(SPEAKER, [(), ()])  # the second has the first one's name
    assert database.rows("SELECT * FROM speakers") == []
    with database.writing() as connection:
        connection.execute(SPEAKER)
    assert [row["name"] for row in Database(tmp_path).rows("SELECT * FROM speakers WHERE name = ?", "anna")] == ["anna"]


def test_what_cannot_be_read_is_a_store_error(tmp_path: Path) -> None:
    database = Database(tmp_path)
    other = sqlite3.connect(tmp_path / NAME)
    other.execute("DROP TABLE versions")
    other.close()
    with pytest.raises(StoreError, match="can't be read"):
        database.rows("SELECT * FROM versions")


def test_only_its_owner_may_look(tmp_path: Path) -> None:
    Database(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
