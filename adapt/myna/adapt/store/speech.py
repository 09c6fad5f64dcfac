"""Utterances by speaker: kept with consent, corrected, listed, exported, forgotten; within quotas."""

import contextlib
import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from myna.adapt.store.database import Database, StoreError
from myna.adapt.store.files import RATE_HZ, write_flac

Source = Literal["pseudo", "enrolled", "corrected"]  # in the order of trust
Consent = Literal["stream", "configured", "enrolled"]  # for one stream, once for all, by enrolling
SPEAKERS = "speakers"
MOST_NAME_CHARS = 200
# Counted from the best of a speaker's utterances to the worst, those beyond a quota.
OVER_QUOTAS = """
    WITH ranked AS (
        SELECT u.rowid AS at, u.created_s < ?2 AS old, ROW_NUMBER() OVER best AS number, SUM(u.bytes) OVER best AS total
        FROM utterances u JOIN speakers s ON s.id = u.speaker WHERE s.name = ?1
        WINDOW best AS (
            ORDER BY u.created_s < ?2, CASE u.source WHEN 'corrected' THEN 0 WHEN 'enrolled' THEN 1 ELSE 2 END,
            u.created_s DESC, u.rowid DESC
        )
    )
    SELECT u.*, s.folder FROM ranked JOIN utterances u ON u.rowid = at JOIN speakers s ON s.id = u.speaker
    WHERE old OR number > ?3 OR total > ?4
"""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much is kept of each speaker; over it, the least trusted and oldest go first."""

    max_utterances: int = 2_000
    max_bytes: int = 500_000_000
    max_age_s: float = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance to keep."""

    samples: NDArray[np.int16]  # (n,) at 16 kHz
    text: str  # as the model understood it; where it is enrolled: as it was read
    confidence: float
    session: str
    utterance: str
    model: str  # name and version; empty where it is enrolled: no model heard it
    adapter: str | None = None
    source: Source = "pseudo"
    consent: Consent = "stream"


@dataclass(frozen=True, slots=True)
class Kept:
    """An utterance as it is kept."""

    id: str
    audio: Path
    seconds: float
    heard: str
    text: str
    source: Source
    confidence: float
    consent: Consent
    model: str
    adapter: str | None
    created_s: float

    def samples(self) -> NDArray[np.int16]:
        """Read the audio (n,) at 16 kHz. Raises StoreError where it is gone or damaged."""
        try:
            samples: NDArray[np.int16]
            samples, _ = soundfile.read(self.audio, dtype="int16")
        except (OSError, soundfile.SoundFileError) as error:
            raise StoreError(f"utterance {self.id}: its audio can't be read ({error})") from None
        return samples


class AlreadyKept(StoreError):
    """The very utterance is in the store."""


@dataclass(frozen=True, slots=True)
class SpeakerSummary:
    """What is kept of a speaker."""

    name: str
    utterances: int
    corrected: int
    seconds: float
    bytes: int
    newest_s: float


def check_speaker(name: str) -> None:
    """Refuse a name under which nothing can be kept. Raises StoreError."""
    lone = any("\ud800" <= c <= "\udfff" for c in name)  # half a character, as bytes that are no UTF-8 become
    if not 1 <= len(name) <= MOST_NAME_CHARS or "\0" in name or lone:
        raise StoreError(f"speaker: must be 1 to {MOST_NAME_CHARS} characters of Unicode, none of them NUL")


class Store:
    """The data directory. Safe for several threads and processes; `clock` gives seconds since the epoch."""

    def __init__(self, folder: Path, quotas: Quotas | None = None, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.quotas, self._clock = folder, quotas or Quotas(), clock
        self.database = Database(folder)

    def now_s(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._clock()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    # ------------------------------------------------------------------ speech

    def keep(self, speaker: str, heard: Heard) -> str:
        """Keep an utterance, durably; return its id. Raises StoreError, and then nothing more is kept than before."""
        name = secrets.token_hex(16)
        folder = self._made(speaker)
        query = "SELECT 1 FROM utterances WHERE session = ? AND utterance = ?"
        if self.database.rows(query, heard.session, heard.utterance):
            raise AlreadyKept("the utterance can't be kept: it is kept already")
        path = folder / "utterances" / f"{name}.flac"
        try:
            size = write_flac(path, heard.samples)
            with self.database.writing() as connection:
                row = {
                    "id": name, "session": heard.session, "utterance": heard.utterance, "samples": len(heard.samples),
                    "bytes": size, "heard": "" if heard.source == "enrolled" else heard.text, "text": heard.text,
                    "source": heard.source, "confidence": heard.confidence, "consent": heard.consent,
                    "model": heard.model, "adapter": heard.adapter, "created_s": self._clock(),
                    "changed_s": self._clock(),
                }  # fmt: skip
                done = connection.execute(
                    f"INSERT INTO utterances (speaker, {', '.join(row)}) "
                    f"SELECT id, {', '.join('?' * len(row))} FROM speakers WHERE name = ?",
                    (*row.values(), speaker),
                )
                if not done.rowcount:
                    raise StoreError("the speaker was forgotten meanwhile; nothing is kept")
        except (OSError, sqlite3.Error, StoreError) as error:
            path.unlink(missing_ok=True)
            if isinstance(error, StoreError):
                self.discard(folder)
                raise
            raise StoreError(f"the utterance can't be kept ({error}); is the disk full?") from None
        self._hold_quotas(speaker)
        return name

    def correct(self, speaker: str, session: str, utterance: str, text: str) -> None:
        """Say what was really said in an utterance, durably. Raises StoreError where it was not kept."""
        with self.database.writing() as connection:
            done = connection.execute(
                "UPDATE utterances SET text = ?, source = 'corrected', changed_s = ? "
                "WHERE session = ? AND utterance = ? AND speaker = (SELECT id FROM speakers WHERE name = ?)",
                (text, self._clock(), session, utterance, speaker),
            )
            if not done.rowcount:
                raise StoreError("the utterance was not kept: without `collect` there is nothing to correct")

    def utterances(self, speaker: str) -> list[Kept]:
        """List what is kept of a speaker, the oldest first."""
        query = (
            "SELECT u.*, s.folder FROM utterances u JOIN speakers s ON s.id = u.speaker "
            "WHERE s.name = ? ORDER BY u.created_s, u.rowid"
        )
        return [self._kept(row) for row in self.database.rows(query, speaker)]

    def speakers(self) -> list[SpeakerSummary]:
        """Sum up what is kept, by name."""
        query = (
            "SELECT s.name, COUNT(u.id) AS utterances, TOTAL(u.source = 'corrected') AS corrected, "
            "TOTAL(u.samples) AS samples, TOTAL(u.bytes) AS bytes, MAX(COALESCE(u.created_s, s.created_s)) AS newest_s "
            "FROM speakers s LEFT JOIN utterances u ON s.id = u.speaker GROUP BY s.id ORDER BY s.name"
        )
        return [
            SpeakerSummary(
                row["name"], row["utterances"], int(row["corrected"]), row["samples"] / RATE_HZ, int(row["bytes"]),
                row["newest_s"],
            )
            for row in self.database.rows(query)
        ]  # fmt: skip

    def export(self, speaker: str, out: Path) -> int:
        """Copy all of a speaker's utterances to a new folder, with a manifest; return how many. Raises StoreError."""
        kept = self.utterances(speaker)
        if not kept:
            raise StoreError("nothing is kept of this speaker")
        out.mkdir(mode=0o700, parents=True)
        with (out / "utterances.jsonl").open("w", encoding="utf-8") as manifest:
            for one in kept:
                shutil.copyfile(one.audio, out / one.audio.name)
                row = asdict(one) | {"audio": one.audio.name, "speaker": speaker}
                manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
        return len(kept)

    def forget(self, speaker: str) -> bool:
        """Remove everything of a speaker and every trace of it; tell whether there was anything."""
        rows = self.database.rows("SELECT folder FROM speakers WHERE name = ?", speaker)
        with self.database.writing() as connection:
            connection.executemany("DELETE FROM speakers WHERE folder = ?", [(row["folder"],) for row in rows])
        for row in rows:
            shutil.rmtree(self.folder / SPEAKERS / row["folder"], ignore_errors=True)
        self.database.scrub()
        return bool(rows)

    # ------------------------------------------------------------------ order on disk

    def discard(self, folder: Path) -> None:
        """Remove a folder that was a speaker's who is forgotten, and that a write under way has made anew."""
        if not self.database.rows("SELECT 1 FROM speakers WHERE folder = ?", folder.name):
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> int:
        """Remove files that no row knows, as a crash leaves them; return how many."""
        # Folders first: a speaker who is new meanwhile has a row before a folder.
        there = list((self.folder / SPEAKERS).glob("*"))
        known = {
            (row["folder"], f"{row['id']}.flac")
            for row in self.database.rows("SELECT s.folder, u.id FROM utterances u JOIN speakers s ON s.id = u.speaker")
        } | {
            (row["folder"], f"{row['version']}.safetensors")
            for row in self.database.rows(
                "SELECT s.folder, version FROM versions v JOIN speakers s ON s.id = v.speaker"
            )
        }
        folders = {row["folder"] for row in self.database.rows("SELECT folder FROM speakers")}
        count = 0
        for folder in there:
            if folder.name not in folders:
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
        for path in (self.folder / SPEAKERS).glob("*/*/*"):
            if (path.parts[-3], path.name) not in known and self._is_old(path):
                path.unlink(missing_ok=True)
                count += 1
        if count:
            self.database.scrub()
        return count

    def _is_old(self, path: Path) -> bool:
        """Tell a file that a crash left from one that is being written."""
        with contextlib.suppress(OSError):
            return self._clock() - path.stat().st_mtime > 60
        return False

    def folder_of(self, speaker: str) -> Path | None:
        """Return where a speaker's files lie; None where nothing is known of the speaker."""
        rows = self.database.rows("SELECT folder FROM speakers WHERE name = ?", speaker)
        return self.folder / SPEAKERS / str(rows[0]["folder"]) if rows else None

    def _made(self, speaker: str) -> Path:
        """Return a speaker's folder, made if need be."""
        check_speaker(speaker)
        with self.database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO speakers (name, folder, created_s) VALUES (?, ?, ?)",
                (speaker, secrets.token_hex(16), self._clock()),
            )
            (folder,) = connection.execute("SELECT folder FROM speakers WHERE name = ?", (speaker,)).fetchone()
        return self.folder / SPEAKERS / str(folder)

    def _hold_quotas(self, speaker: str) -> None:
        """Remove what is over a speaker's quotas."""
        quotas, oldest_s = self.quotas, self._clock() - self.quotas.max_age_s
        over = self.database.rows(OVER_QUOTAS, speaker, oldest_s, quotas.max_utterances, quotas.max_bytes)
        self.remove([self._kept(row) for row in over])

    def remove(self, kept: list[Kept]) -> None:
        """Remove some utterances."""
        if not kept:
            return
        with self.database.writing() as connection:
            connection.executemany("DELETE FROM utterances WHERE id = ?", [(one.id,) for one in kept])
        for one in kept:
            one.audio.unlink(missing_ok=True)

    def _kept(self, row: sqlite3.Row) -> Kept:
        audio = self.folder / SPEAKERS / row["folder"] / "utterances" / f"{row['id']}.flac"
        values = {name: row[name] for name in Kept.__slots__ if name not in ("audio", "seconds")}
        return Kept(audio=audio, seconds=row["samples"] / RATE_HZ, **values)
