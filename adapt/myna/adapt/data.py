"""Utterances and their texts: read in the usual layouts, cleaned, split without a speaker on both sides."""

import csv
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from myna.adapt.settings import Source
from myna.models.errors import MynaError

AUDIO_SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")
# Spoken though no letters: left in a text, so that it counts as one that can't be spelt rather than loses words.
SPOKEN = frozenset("%&@#+=$€£¥°§")
COMMON_VOICE = {"audio_column": "path", "text_column": "sentence", "speaker_column": "client_id"}

By = Literal["utterance", "speaker"]


class DataError(MynaError):
    """Training data that can't be read or split; names the file, the line and the field, and the remedy."""

    code = "bad_data"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording and what is said in it; `speaker` is empty where unknown, `weight` how often an epoch holds it."""

    audio: Path
    text: str
    speaker: str
    corpus: str
    weight: float = 1.0


def clean(text: str) -> str:
    """Lower-case, drop punctuation but apostrophes within words; digits and spoken signs stay."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = (c if c in SPOKEN or c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return " ".join(word for part in "".join(kept).split() if (word := part.strip("'")))


def read_source(source: Source) -> list[Utterance]:
    """Read all utterances of a source, texts cleaned (they may be empty). Raises DataError."""
    readers = {
        "manifest": _manifest,
        "librispeech": _librispeech,
        "common_voice": _common_voice,
        "csv": _table,
    }
    try:
        found = list(readers[source.kind](source))
    except UnicodeDecodeError as error:
        raise DataError(f"{source.path}: is not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{error.filename or source.path}: {error.strerror}") from None
    if not found:
        raise DataError(f"{source.path}: holds no utterance; is it a source of kind {source.kind}?")
    return found


def _manifest(source: Source) -> Iterator[Utterance]:
    with source.path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{source.path}: line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{place}: is not JSON ({error}); write one object a line") from None
            if not isinstance(row, dict):
                raise DataError(f"{place}: must be a JSON object")
            yield _utterance(source, place, row, source.path.parent)


def _table(source: Source, folder: str = "", quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Iterator[Utterance]:
    tabs = source.kind == "common_voice" or source.path.suffix == ".tsv"
    with source.path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if tabs else ",", quoting=quoting)
        for name in ("audio_column", "text_column"):
            if (column := getattr(source, name)) not in (columns := rows.fieldnames or []):
                raise DataError(
                    f"{source.path}: line 1: there is no column {column}; set {name} to one of {', '.join(columns)}"
                )
        for row in rows:
            yield _utterance(source, f"{source.path}: line {rows.line_num}", row, source.path.parent / folder)


def _common_voice(source: Source) -> Iterator[Utterance]:
    # Its tables are not quoted: a quotation mark is part of the sentence.
    yield from _table(source.model_copy(update=COMMON_VOICE), "clips", csv.QUOTE_NONE)


def _librispeech(source: Source) -> Iterator[Utterance]:
    if not source.path.is_dir():
        raise DataError(f"{source.path}: is no folder; give the one with the speakers' folders")
    for path in sorted(source.path.rglob("*.trans.txt")):
        names = {p.stem: p for p in path.parent.iterdir() if p.suffix.lower() in AUDIO_SUFFIXES}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            if name not in names:
                raise DataError(f"{path}: line {number}: there is no audio {name} beside it (.flac, .wav, ...)")
            speaker = name.partition("-")[0]
            corpus = source.corpus or source.path.name
            yield Utterance(names[name], clean(text), speaker, corpus, source.weight_of(corpus))


def _utterance(source: Source, place: str, row: dict[str, Any], folder: Path) -> Utterance:
    values: list[str] = []
    for name in ("audio_column", "text_column", "speaker_column"):
        column: str = getattr(source, name)
        value = row.get(column)
        if value is None and name == "speaker_column":
            value = ""
        if isinstance(value, int) and name == "speaker_column":
            value = str(value)
        if not isinstance(value, str) or (name == "audio_column" and not value):
            raise DataError(f"{place}: {column}: must be a string; set {name} if another field holds it")
        values.append(value)
    corpus = str(source.corpus or row.get("corpus") or source.path.stem)
    return Utterance(folder / values[0], clean(values[1]), values[2], corpus, source.weight_of(corpus))


def split(
    utterances: Sequence[Utterance], shares: tuple[float, float, float], by: By, seed: int
) -> tuple[list[Utterance], list[Utterance], list[Utterance]]:
    """Split into train, valid and test of about these shares of utterances. Raises DataError where one stays empty."""
    train, valid, test = _parts(utterances, shares, by, seed)
    return train, valid, test


def folds(utterances: Sequence[Utterance], k: int, by: By, seed: int) -> list[tuple[list[Utterance], list[Utterance]]]:
    """Make k pairs of train and valid; each utterance is in one valid. Raises DataError where there are too few."""
    parts = _parts(utterances, [1 / k] * k, by, seed)
    return [([u for other in parts if other is not part for u in other], part) for part in parts]


def _parts(utterances: Sequence[Utterance], shares: Sequence[float], by: By, seed: int) -> list[list[Utterance]]:
    """Deal groups out, the largest first, each to the part that lacks most; parts keep the order of what was given."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        groups[_group(utterance, index, by)].append(index)
    keys = sorted(groups)
    order = np.random.default_rng(seed).permutation(len(keys))
    dealt = sorted((groups[keys[i]] for i in order), key=len, reverse=True)
    parts: list[list[int]] = [[] for _ in shares]
    for number, group in enumerate(dealt):
        lacking = [share * len(utterances) - len(part) for share, part in zip(shares, parts, strict=True)]
        empty = [i for i, part in enumerate(parts) if shares[i] and not part]
        choices = empty if len(dealt) - number <= len(empty) else range(len(parts))
        parts[max(choices, key=lacking.__getitem__)].extend(group)
    if any(share and not part for share, part in zip(shares, parts, strict=True)):
        wanted = sum(share > 0 for share in shares)
        remedy = "split by utterance, or give" if by == "speaker" else "give"
        raise DataError(f"split: {len(groups)} {by}s can't fill {wanted} parts; {remedy} more data")
    return [[utterances[i] for i in sorted(part)] for part in parts]


def _group(utterance: Utterance, index: int, by: By) -> tuple[str, str]:
    if by == "utterance":
        return "index", f"{index:012d}"
    return ("speaker", utterance.speaker) if utterance.speaker else ("text", utterance.text)
