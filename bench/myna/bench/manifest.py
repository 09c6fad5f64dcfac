"""Clips and their texts: JSON lines with audio (relative to the manifest), text, perhaps speaker, corpus, accent."""

import collections
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from myna.bench.score import Errors, compare, normalise, rates
from myna.models.errors import MynaError

FIELDS = (("audio", None), ("text", None), ("corpus", "all"), ("speaker", ""), ("accent", ""), ("role", ""))


class ManifestError(MynaError):
    """A manifest, or a file it names, that can't be read; says which line and field."""

    code = "bad_manifest"


@dataclass(frozen=True, slots=True)
class Clip:
    """One line of a manifest."""

    audio: Path
    text: str
    corpus: str = "all"
    speaker: str = ""
    accent: str = ""
    role: str = ""


def read_manifest(path: Path, limit: int | None = None) -> list[Clip]:
    """Read the clips; `limit` keeps so many of each corpus, from the beginning. Raises ManifestError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start})") from None
    clips: list[Clip] = []
    kept: collections.Counter[str] = collections.Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        clip = _clip(path, number, line)
        kept[clip.corpus] += 1
        if limit is None or kept[clip.corpus] <= limit:
            clips.append(clip)
    if not clips:
        raise ManifestError(f"{path}: names no clip")
    return clips


def _clip(path: Path, number: int, line: str) -> Clip:
    place = f"{path}: line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ManifestError(f"{place}: is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ManifestError(f"{place}: must be a JSON object")
    fields: list[str] = []
    for name, default in FIELDS:
        value = default if row.get(name) is None else row[name]
        if not isinstance(value, str):
            raise ManifestError(f"{place}: {name}: must be a string")
        fields.append(value)
    clip = Clip(path.parent / fields[0], *fields[1:])
    if not clip.audio.is_file():
        raise ManifestError(f"{place}: audio: there is no file {clip.audio}")
    if not normalise(clip.text):
        raise ManifestError(f"{place}: text: holds no word")
    return clip


def load_samples(path: Path, rate_hz: int = 16_000) -> NDArray[np.int16]:
    """Read a file as mono int16 (n,) at the rate. Raises ManifestError."""
    try:
        wave, file_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ManifestError(f"{path}: {error.error_string}") from None
    mono = wave.mean(axis=1)
    if file_rate_hz != rate_hz:
        mono = soxr.resample(mono, file_rate_hz, rate_hz)
    samples: NDArray[np.int16] = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    return samples


def report(heard: Iterable[tuple[Clip, str]]) -> dict[str, Any]:
    """Score what was understood of each clip, at least one: rates (fractions) overall, for each corpus and accent."""
    scored = [(clip, compare(clip.text, text)) for clip, text in heard]
    groups: dict[str, dict[str, list[Errors]]] = {"corpora": {}, "accents": {}}
    for clip, errors in scored:
        groups["corpora"].setdefault(clip.corpus, []).append(errors)
        if clip.accent:
            groups["accents"].setdefault(clip.accent, []).append(errors)
    by_group = {
        kind: {name: rates(group) for name, group in sorted(found.items())} for kind, found in groups.items() if found
    }
    return rates([errors for _, errors in scored]) | by_group


def write_heard(path: Path, heard: Iterable[tuple[Clip, str]]) -> None:
    """Write what was understood of each clip as JSON lines."""
    rows = [
        {"audio": str(clip.audio), "corpus": clip.corpus, "reference": clip.text, "hypothesis": text}
        for clip, text in heard
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
