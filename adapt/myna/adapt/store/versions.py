"""What was learnt of each speaker: versions that passed the gate, one of them in use; refusals and their reasons."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myna.adapt.store.database import StoreError
from myna.adapt.store.files import write_file
from myna.adapt.store.speech import SPEAKERS, Store
from myna.models.adapter_file import version_of

FORGOTTEN = "the speaker was forgotten meanwhile; nothing of what was learnt is kept"


@dataclass(frozen=True, slots=True)
class Version:
    """One attempt at a speaker; `version` is None where it was refused, and `reason` says why."""

    version: str | None
    reason: str | None
    model: str
    report: Mapping[str, Any]
    created_s: float
    in_use: bool


@dataclass(frozen=True, slots=True)
class InUse:
    """The adapter that a speaker's streams use."""

    version: str
    path: Path

    def content(self) -> bytes:
        """Read the file; nothing but what passed the gate gets through. Raises StoreError."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise StoreError(f"adapter {self.version} can't be read ({error.strerror})") from None
        if version_of(content) != self.version:
            raise StoreError(f"adapter {self.version} is damaged: its hash is another")
        return content


class Versions:
    """The versions of all speakers of a store.

    Who learns a while names the speaker's `folder` as it was when learning began: what is learnt of somebody who was
    forgotten meanwhile must not go to whoever has the name now.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._database = store, store.database

    def publish(
        self, speaker: str, content: bytes, model: str, report: Mapping[str, Any], folder: Path | None = None
    ) -> str:
        """Put an adapter that passed the gate into use, whole or not at all; return its version. Raises StoreError."""
        version = version_of(content)
        folder = folder or self._folder(speaker)
        path = _file(folder, version)
        try:
            write_file(path, content)
            with self._database.writing() as connection:
                self._note(connection, folder, version, None, model, report)
                connection.execute("UPDATE speakers SET in_use = ? WHERE folder = ?", (version, folder.name))
        except StoreError:
            self._store.discard(folder)
            raise
        except (OSError, sqlite3.Error) as error:
            if version not in {one.version for one in self.versions(speaker)}:
                with suppress(OSError):
                    path.unlink()
            raise StoreError(f"the adapter can't be published ({error}); is the disk full?") from None
        return version

    def refuse(
        self, speaker: str, reason: str, model: str, report: Mapping[str, Any], folder: Path | None = None
    ) -> None:
        """Note that a candidate was not good enough, in a sentence that its speaker understands. Raises StoreError."""
        folder = folder or self._folder(speaker)
        try:
            with self._database.writing() as connection:
                self._note(connection, folder, None, reason, model, report)
        except sqlite3.Error as error:
            raise StoreError(f"the refusal can't be noted ({error}); is the disk full?") from None

    def versions(self, speaker: str) -> list[Version]:
        """List all attempts at a speaker, the oldest first."""
        query = (
            "SELECT v.*, s.in_use FROM versions v JOIN speakers s ON s.id = v.speaker WHERE s.name = ? ORDER BY v.id"
        )
        return [
            Version(
                row["version"],
                row["reason"],
                row["model"],
                json.loads(row["report"]),
                row["created_s"],
                row["version"] is not None and row["version"] == row["in_use"],
            )
            for row in self._database.rows(query, speaker)
        ]

    def in_use(self, speaker: str) -> InUse | None:
        """Return the adapter that a speaker's streams use; None: the base alone."""
        rows = self._database.rows("SELECT folder, in_use FROM speakers WHERE name = ?", speaker)
        if not rows or rows[0]["in_use"] is None:
            return None
        version = str(rows[0]["in_use"])
        return InUse(version, _file(self._store.folder / SPEAKERS / rows[0]["folder"], version))

    def all_in_use(self) -> dict[str, str]:
        """Return the version in use by speaker; those who are heard with the base alone are left out."""
        rows = self._database.rows("SELECT name, in_use FROM speakers WHERE in_use IS NOT NULL")
        return {row["name"]: row["in_use"] for row in rows}

    def roll_back(self, speaker: str, to: str | None = None) -> str | None:
        """Use an earlier version (none named: the one before, or the base); return it. Raises StoreError."""
        accepted = [one.version for one in self.versions(speaker) if one.version]
        now = self.in_use(speaker)
        if to is None:
            if now is None:
                raise StoreError(
                    "nothing is in use that could be rolled back; `myna speaker versions` lists what there is"
                )
            at = accepted.index(now.version)
            to = accepted[at - 1] if at else None
        elif to not in accepted:
            raise StoreError(f"there is no version {to}; `myna speaker versions` lists those there are")
        with self._database.writing() as connection:
            connection.execute("UPDATE speakers SET in_use = ? WHERE name = ?", (to, speaker))
        return to

    def changed(self) -> int:
        """Return a number that changes when another connection has changed anything; cheap to ask often."""
        (row,) = self._database.rows("PRAGMA data_version")
        return int(row[0])

    def _note(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        version: str | None,
        reason: str | None,
        model: str,
        report: Mapping[str, Any],
    ) -> None:
        done = connection.execute(
            "INSERT INTO versions (speaker, version, reason, model, report, created_s) "
            "SELECT id, ?, ?, ?, ?, ? FROM speakers WHERE folder = ? "
            "ON CONFLICT (speaker, version) DO UPDATE SET report = excluded.report",
            (version, reason, model, json.dumps(report), self._store.now_s(), folder.name),
        )
        if not done.rowcount:
            raise StoreError(FORGOTTEN)

    def _folder(self, speaker: str) -> Path:
        folder = self._store.folder_of(speaker)
        if folder is None:
            raise StoreError(FORGOTTEN)
        return folder


def _file(folder: Path, version: str) -> Path:
    return folder / "adapters" / f"{version}.safetensors"
