"""Recordings that are handed in: each line of a manifest, checked and kept, or refused with a reason."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from myna.adapt.data import DataError, clean
from myna.adapt.decode import RATE_HZ, decode
from myna.adapt.prompts import plain
from myna.adapt.store import AlreadyKept, Heard, Store

SESSION = "enrolled"
SHORTEST_S, LONGEST_S = 0.1, 60.0


class Refused(DataError):
    """One line that is not kept; the text begins with the field."""


@dataclass(slots=True)
class Tally:
    """What became of a manifest's lines."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    already: int = 0  # kept by an earlier run
    others: Counter[str] = field(default_factory=Counter)  # lines of other speakers
    refused: list[dict[str, Any]] = field(default_factory=list)


def keep(store: Store, speaker: str, text: str, samples: NDArray[np.int16]) -> dict[str, Any]:
    """Keep what was read, durably; return what `--json` says of it. Raises StoreError, AlreadyKept among them."""
    key = hashlib.sha256(json.dumps([speaker, text]).encode() + samples.tobytes()).hexdigest()
    heard = Heard(samples, text, 1.0, SESSION, key, model="", source="enrolled", consent="enrolled")
    return {"id": store.keep(speaker, heard), "text": text, "seconds": round(len(samples) / RATE_HZ, 3)}


def read_lines(manifest: Path) -> list[str]:
    """Read a manifest's lines. Raises DataError."""
    try:
        with manifest.open(encoding="utf-8-sig") as file:
            return list(file)
    except UnicodeDecodeError as error:
        raise DataError(f"{manifest}: is not UTF-8 ({error.reason}); it must be JSON lines") from None
    except OSError as error:
        raise DataError(f"{manifest}: {error.strerror}") from None


def hand_in(store: Store, speaker: str, manifest: Path, named: str, lines: Iterable[str]) -> Tally:
    """Keep what a manifest's lines name, but for those of speakers other than `named`. Raises StoreError."""
    tally = Tally()
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                _take_in(store, speaker, manifest, named, line, tally)
        except AlreadyKept:
            tally.already += 1
        except Refused as refused:
            tally.refused.append({"line": number, "reason": plain(str(refused))})
    return tally


def _take_in(store: Store, speaker: str, manifest: Path, named: str, line: str, tally: Tally) -> None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(f"is not JSON ({error}); write one object a line") from None
    if not isinstance(row, dict):
        raise Refused("must be a JSON object with audio and text")
    if (whose := _speaker(row)) not in ("", named):
        tally.others[whose] += 1
        return
    for name in ("audio", "text"):
        if not isinstance(row.get(name), str):
            raise Refused(f"{name}: must be a string")
    text = plain(row["text"])
    if not clean(text):
        raise Refused("text: holds no word")
    samples = _samples(manifest.parent / row["audio"])
    tally.kept.append(keep(store, speaker, text, samples) | {"audio": row["audio"]})


def _speaker(row: dict[str, Any]) -> str:
    speaker = row.get("speaker")
    if isinstance(speaker, int):
        return str(speaker)
    if not isinstance(speaker, str | None):
        raise Refused("speaker: must be a string, or be left out")
    return speaker or ""


def _samples(path: Path) -> NDArray[np.int16]:
    """Read (n,) samples at 16 kHz. Raises Refused."""
    if not path.is_file():
        raise Refused(f"audio: there is no file {path}")
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, TypeError):  # TypeError: a file without a header
        info = None
    if info and info.frames > LONGEST_S * info.samplerate:
        seconds = info.frames / info.samplerate
        raise Refused(f"audio: is {seconds:.0f} s long, over {LONGEST_S:g} s; cut it into sentences")
    samples = decode(str(path)) if info else None
    if samples is None:
        raise Refused(f"audio: {path} can't be read (WAV, FLAC, MP3, Ogg and Opus can)")
    if len(samples) < SHORTEST_S * RATE_HZ:
        raise Refused(f"audio: is {len(samples) / RATE_HZ:.2f} s long, under {SHORTEST_S:g} s")
    if not samples.any():
        raise Refused("audio: is silent")
    return samples
