"""Sentences to read aloud: those that come with Myna, or one's own; those not read before come first."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from myna.adapt.data import DataError, clean

PROMPTS = Path(__file__).parent / "prompts.txt"


def read_prompts(path: Path = PROMPTS) -> list[str]:
    """Read prompts, one a line; empty lines and those that begin with # are left out. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    lines = (plain(line) for line in text.split("\n"))
    prompts = [line for line in dict.fromkeys(lines) if clean(line) and not line.startswith("#")]
    if not prompts:
        raise DataError(f"{path}: holds no prompt; write one sentence a line")
    return prompts


def choose(prompts: list[str], read: Iterable[str], count: int) -> list[str]:
    """Choose so many prompts, in their order, but those that were read before behind all others."""
    before = {clean(text) for text in read}
    return sorted(prompts, key=lambda prompt: clean(prompt) in before)[:count]


def plain(text: str) -> str:
    """Make one line of a text: no control characters, no more than one space."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())
