"""A run from recipe to bundle: read, decode, train, average, write."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

from myna.adapt.augment import Augmenter
from myna.adapt.checkpoint import average_weights
from myna.adapt.denormals import flushed_denormals
from myna.adapt.feed import Feed
from myna.adapt.progress import Progress
from myna.adapt.ranks import Ranks, open_ranks
from myna.adapt.recipe import Recipe
from myna.adapt.speech import Speech
from myna.adapt.start import Portions, Start, begin, fit_normalisation, read_portions, write_result, write_utterances
from myna.adapt.train import CHECKPOINT, Held, Trainer, TrainingError
from myna.adapt.trainable import Trainable
from myna.adapt.validate import choose

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
LONGEST_VALID_S = 35.0  # validation hears longer utterances than training does


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run; WERs are fractions, None where nothing is validated on."""

    bundle: str
    ended_by: str
    steps: int
    epochs: float
    minutes: float
    heard_hours: float
    wer_before: float | None
    wer: float | None  # the lowest
    averaged_steps: tuple[int, ...]
    dropped: dict[str, int]


@flushed_denormals()
def follow(recipe: Recipe, out: Path, resume: bool = True, fold: int = 0, console: Console | None = None) -> Result:
    """Follow a recipe; `out` gets the bundle and everything a broken-off run goes on from.

    Raises MynaError where something is wrong with recipe, data or checkpoint; KeyboardInterrupt on SIGINT or SIGTERM,
    once the checkpoint is written.
    """
    torch.set_num_threads(recipe.run.threads or os.cpu_count() or 1)
    _keep_memory()
    with open_ranks(recipe.run.device) as (ranks, device), _asked_to_stop() as asked:
        start, portions = begin(recipe.model, recipe.run.seed), read_portions(recipe.data, recipe.run.seed, fold)
        speech, held = _decoded(recipe, start, portions, out, ranks)
        if recipe.model.init == "scratch":
            fit_normalisation(start.model, speech)
        start.model.to(device)
        views = 2 if recipe.loss.consistency_weight else 1
        augmenter = Augmenter(recipe.augment, speech)
        feed = Feed(speech, augmenter, start.model.spec, recipe.chunks, recipe.run.seed, views)
        trainer = Trainer(recipe, start.model, start.tokens, feed, held, out, ranks, resume, asked)
        if not ranks.rank:
            trainer.progress = Progress(out, trainer.at.step, recipe.run.tensorboard, console)
            if portions.test:
                write_utterances(out / "test.jsonl", portions.test)
        ended = trainer.run()
        return _finished(trainer, start, out, ended, speech.dropped, ranks)


def _keep_memory() -> None:
    """Have glibc, if that is what there is, reuse freed memory: page faults cost a CPU step a fifth of its time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _decoded(recipe: Recipe, start: Start, portions: Portions, out: Path, ranks: Ranks) -> tuple[Speech, Held]:
    """Decode training and validation speech; the first process fills the cache that the others read."""
    longer = recipe.data.model_copy(update={"max_s": max(LONGEST_VALID_S, recipe.data.max_s)})
    spec, cache = start.model.spec, out / "cache"
    if ranks.rank:
        ranks.wait()
    speech = Speech(portions.train, start.tokens, spec, recipe.data, cache, progress=not ranks.rank)
    valid = Speech(portions.valid, start.tokens, spec, longer, cache, progress=not ranks.rank)
    if not ranks.rank:
        ranks.wait()
    if not len(speech):
        reasons = ", ".join(f"{count} {reason}" for reason, count in speech.dropped.items())
        raise TrainingError(f"data.train: no utterance is left to learn from ({reasons}); see min_s, max_s and tokens")
    return speech, Held(valid, choose(valid, recipe.run.validation_utterances, recipe.run.seed))


def _finished(trainer: Trainer, start: Start, out: Path, ended: str, dropped: dict[str, int], ranks: Ranks) -> Result:
    """Average, fold adapters in, write the bundle."""
    at, chosen = trainer.at, trainer.chosen()
    averaged = tuple(sorted(int(path.stem.removeprefix("step-")) for path in chosen))
    wers = {step: wer for step, wer in at.wers.items() if step} if trainer.validates else {}
    result = Result(
        bundle=str(out / "bundle"),
        ended_by=ended,
        steps=at.step,
        epochs=round(at.epoch + at.position / at.count, 3),
        minutes=round(at.trained_s / 60, 2),
        heard_hours=round(at.heard_s / 3600, 3),
        wer_before=at.wers.get(0) if trainer.validates else None,
        wer=min(wers.values(), default=None),
        averaged_steps=averaged,
        dropped=dropped,
    )
    if not ranks.rank:
        trainer.load(average_weights(chosen))
        if trainer.deltas is not None:
            trainer.deltas.fold(start.model)
        if trainer.rounder is not None:
            trainer.rounder.round()
        if trainer.progress is not None:
            trainer.progress.say("writing the bundle")
            trainer.progress.close()
        write_result(out / "bundle", start, _told(result))
    ranks.wait()
    return result


def _told(result: Result) -> str:
    """Say in a card how a model was trained."""
    score = "" if result.wer is None else f"; WER on its validation set {100 * result.wer:.2f} %"
    return f"Trained by Myna: {result.steps} steps, {result.heard_hours:g} h of speech heard{score}. Not quantised."


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe would do."""

    init: str
    train_utterances: int
    valid_utterances: int
    test_utterances: int
    corpora: dict[str, int]
    parameters: int
    moving: int
    groups: list[dict[str, Any]]
    resumes: bool


def plan(recipe: Recipe, out: Path, fold: int = 0) -> Plan:
    """Tell what would be trained on and what would move, without decoding audio or writing anything."""
    start, portions = begin(recipe.model, recipe.run.seed), read_portions(recipe.data, recipe.run.seed, fold)
    trainable = Trainable(start.model, recipe.trainable)
    corpora: dict[str, int] = {}
    for utterance in portions.train:
        corpora[utterance.corpus] = corpora.get(utterance.corpus, 0) + 1
    groups = [
        {
            "depth": group.depth,
            "rate": recipe.optimiser.rate * group.factor,
            "decays": group.decays,
            "parameters": sum(trainable.moving[name].numel() for name in group.names),
            "names": list(group.names),
        }
        for group in trainable.groups
    ]
    return Plan(
        init=recipe.model.init,
        train_utterances=len(portions.train),
        valid_utterances=len(portions.valid),
        test_utterances=len(portions.test),
        corpora=corpora,
        parameters=sum(p.numel() for p in start.model.parameters()),
        moving=sum(p.numel() for p in trainable.moving.values()),
        groups=groups,
        resumes=(out / CHECKPOINT).is_file(),
    )


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM to a question that is asked between steps; a second one ends the process at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
