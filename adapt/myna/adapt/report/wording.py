"""Figures in words, the same in the terminal and on the page."""

from collections.abc import Mapping
from datetime import UTC, datetime

from myna.adapt.report.figures import Attempt, Comparison, Curve, Lesson

SOURCES = {"corrected": "corrected", "enrolled": "read", "pseudo": "as heard"}  # the most trusted first
JOINERS = "\u200c\u200d"  # invisible, and part of how some languages are spelt


def plain(text: str) -> str:
    """Replace what does not print but steers: escapes of terminals, turns of direction, halves of characters."""
    return "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in text)


def when(time_s: float) -> str:
    """Write a time since the epoch as date and time of here."""
    return datetime.fromtimestamp(time_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def many(count: int, what: str) -> str:
    """Write a number of things."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def length(seconds: float) -> str:
    """Write a length of speech."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share; nothing where it is unknown."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def change(compared: Comparison | None) -> str:
    """Write the relative change of errors; nothing where it is unknown or the base makes none."""
    if compared is None or compared.change is None:
        return ""
    return f"{100 * compared.change:+.0f} %".replace("-", "−").replace("+0", "±0").replace("−0", "±0")


def before_after(compared: Comparison | None) -> str:
    """Write the base's errors and what became of them: rates, else counts, else nothing."""
    if compared is None or compared.base_errors is None or compared.errors is None:
        return ""
    if compared.base_wer is None or compared.wer is None:
        return f"{compared.base_errors} → {compared.errors} words"
    return f"{100 * compared.base_wer:.1f} → {100 * compared.wer:.1f} %"


def by_source(learnt_from: Mapping[str, int]) -> dict[str, int]:
    """Name the sources in words, the most trusted first and unknown ones last."""
    known = {word: learnt_from[source] for source, word in SOURCES.items() if source in learnt_from}
    return known | {plain(source): count for source, count in learnt_from.items() if source not in SOURCES}


def learnt_from(lesson: Lesson) -> str:
    """Write what was learnt from, as `12 corrected, 20 read, 8 as heard; 3.4 min`."""
    counts = ", ".join(f"{count} {word}" for word, count in by_source(lesson.learnt_from).items())
    return "; ".join(part for part in (counts, length(lesson.seconds) if lesson.seconds is not None else "") if part)


def name_of(attempt: Attempt) -> str:
    """Write the version of an attempt, or that it was refused."""
    return plain(attempt.version) if attempt.version else "refused"


def reason_of(attempt: Attempt) -> str:
    """Write why an attempt was refused, or how it passed the gate."""
    return plain(attempt.reason or attempt.told.gate or "")


def headline(curve: Curve) -> list[str]:
    """Say in a few sentences where things stand."""
    if not curve.attempts:
        return ["Nothing was learnt yet.", *outlook(curve)]
    refused = sum(one.version is None for one in curve.attempts)
    attempts = f"{many(len(curve.attempts), 'attempt')}, {refused} refused."
    used = curve.used
    if used is None:
        return ["In use: the base alone.", attempts]
    said = [f"In use: version {name_of(used)} of {when(used.created_s)}.", reason_of(used), attempts]
    return [sentence for sentence in said if sentence]


def outlook(curve: Curve) -> list[str]:
    """Say what is missing for the next attempt, or what it would learn from."""
    if curve.why_not:
        return [f"{curve.why_not[0].upper()}{curve.why_not[1:]}."]
    return [f"Ready to be learnt from: {learnt_from(curve.following)}. `myna adapt` learns it, or a server by itself."]


def left_out(curve: Curve) -> dict[str, int]:
    """Count by reason what the latest attempt left out; before the first, what it would."""
    lesson = curve.attempts[-1].told if curve.attempts else curve.following
    return {plain(reason): count for reason, count in lesson.left_out.items()}
