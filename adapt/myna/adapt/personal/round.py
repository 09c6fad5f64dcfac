"""One round at one speaker of the store: choose, make lessons, attempt, publish or refuse."""

import contextlib
import fcntl
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jiwer

from myna.adapt.data import clean
from myna.adapt.personal.attempt import Attempt, Tell, attempt
from myna.adapt.personal.base import Base
from myna.adapt.personal.choose import Plan, choose
from myna.adapt.personal.lessons import Lesson, examine, prepare, second_hearing, word_errors
from myna.adapt.personal.others import Others
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Kept, Store, StoreError, Versions
from myna.adapt.validate import apart
from myna.models.adapter_file import adapter_bytes

LOCK = "lock"
FORGOTTEN = "the speaker was forgotten meanwhile; nothing is learnt"
UNLIKE = 0.75  # share of characters by which a correction and what is heard may differ
MOST_UNLIKE = 0.3  # share of corrections that may be so; beyond it is the model that does not understand


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a round ended: with a version, or without and a sentence that says why."""

    version: str | None
    reason: str
    report: Mapping[str, object] = field(default_factory=dict)
    failed: bool = False  # nobody judged what was learnt, if anything was


class Busy(StoreError):
    """Another process learns this speaker."""


def learn_speaker(
    base: Base, others: Others | None, store: Store, speaker: str, settings: AdaptSettings, tell: Tell
) -> Outcome:
    """Do a round. Raises Busy, StoreError, and what `tell` raises; then nothing is left of it."""
    began_s = time.monotonic()
    with alone(store, speaker) as folder:

        def watched(what: str, share: float) -> None:
            if store.folder_of(speaker) != folder:
                raise StoreError(FORGOTTEN)
            tell(what, share)

        kept = store.utterances(speaker)
        plan = choose(kept, settings)
        if plan.why_not:
            return Outcome(None, plan.why_not)
        lessons, doubtful = make_lessons(base, plan, settings, watched)
        if len(lessons) < settings.min_utterances:
            return Outcome(None, f"of {len(plan.chosen)} utterances only {len(lessons)} are fit to learn from")
        made = attempt(base, lessons, settings, watched, others)
        report = _report(plan, doubtful, made, time.monotonic() - began_s)
        versions = Versions(store)
        if made.adapter is None:
            versions.refuse(speaker, made.verdict.reason, base.name, report, folder)
            return Outcome(None, made.verdict.reason, report)
        version = versions.publish(speaker, adapter_bytes(made.adapter), base.name, report, folder)
        return Outcome(version, made.verdict.reason, report)


@contextlib.contextmanager
def alone(store: Store, speaker: str) -> Iterator[Path]:
    """Keep others from a speaker, whose folder is given; the system lifts that if this process dies.

    Raises Busy, StoreError.
    """
    folder = store.folder_of(speaker)
    if folder is None:
        raise StoreError("nothing is kept of this speaker; `myna speaker list` says of whom")
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / LOCK, "w"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another process learns this speaker; wait until it is done") from None
        except OSError as error:
            raise StoreError(f"{folder / LOCK}: can't be locked ({error.strerror})") from None
        if store.folder_of(speaker) != folder:
            store.discard(folder)
            raise StoreError(FORGOTTEN)
        yield folder


def make_lessons(base: Base, plan: Plan, settings: AdaptSettings, tell: Tell) -> tuple[list[Lesson], dict[str, int]]:
    """Make lessons of what was chosen; count by reason what proves unfit."""
    lessons, out = list[Lesson](), Counter[str]()
    unlike = list[Lesson]()
    for done, one in enumerate(plan.chosen):
        tell("listening", done / len(plan.chosen))
        lesson = _lesson(base, one, settings)
        if isinstance(lesson, str):
            out[lesson] += 1
        else:
            lessons.append(lesson)
            if one.source == "corrected" and _unlike(base, lesson, settings):
                unlike.append(lesson)
    if unlike and len(unlike) <= MOST_UNLIKE * len(lessons):
        out["corrected to something else than what is heard"] += len(unlike)
        lessons = [lesson for lesson in lessons if lesson not in unlike]
    return lessons, dict(out)


def _lesson(base: Base, one: Kept, settings: AdaptSettings) -> Lesson | str:
    """Make a lesson, or name the reason why not."""
    try:
        samples = one.samples()
    except StoreError:
        return "their audio is gone or damaged"
    text = clean(one.text)
    if one.source == "pseudo":
        text = second_hearing(base, samples)
        errors, words = word_errors(text, one.heard)
        if not text or errors > words / 2:
            return "heard otherwise when heard again"
    return prepare(base, samples, text, settings.speeds, settings.blocks) or "their text can't be spelt by this model"


def _unlike(base: Base, lesson: Lesson, settings: AdaptSettings) -> bool:
    """Tell whether a text is hardly what is heard, as when it was meant for another utterance."""
    (mark,) = examine(base, [lesson], None, settings.blocks)
    return bool(jiwer.cer(apart(lesson.text), apart(mark.heard)) > UNLIKE)


def _report(plan: Plan, doubtful: Mapping[str, int], made: Attempt, took_s: float) -> dict[str, object]:
    """Write down what a speaker may want to know of a version."""
    left_out = Counter(plan.left_out)
    left_out.update(doubtful)
    return {
        "learnt_from": plan.by_source(),
        "seconds": round(plan.seconds, 1),
        "left_out": dict(left_out),
        "held_out": asdict(made.held_out),
        "generic": asdict(made.generic) if made.generic else None,
        "passes": made.passes,
        "strength": made.strength,
        "gate": made.verdict.reason,
        "took_s": round(took_s, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }
