"""The training loop: one for a model from scratch, for fine-tuning and for one speaker.

A run is a function of its recipe where steps or epochs bound it: broken off anywhere and gone on with, it ends in the
same weights to the bit (on the same machine, with as many threads).
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from myna.adapt.checkpoint import Checkpoint, read_checkpoint, remove_but, write_checkpoint, write_weights
from myna.adapt.feed import Batch, Feed, Place, ahead
from myna.adapt.loss import Objective
from myna.adapt.progress import Progress, Row
from myna.adapt.ranks import Ranks
from myna.adapt.recipe import Recipe
from myna.adapt.rounding import Rounder
from myna.adapt.schedule import rate_factor
from myna.adapt.speech import Speech
from myna.adapt.trainable import Trainable, clip, make_optimiser, set_rates
from myna.adapt.validate import Score, word_errors
from myna.models.errors import MynaError
from myna.models.nn.conformer import Conformer
from myna.models.tokens import TokenTable

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights"  # folder of what was validated
ROW_STEPS = 20  # steps between rows of figures


class TrainingError(MynaError):
    """Training that can't go on; names the remedy."""

    code = "training_failed"


@dataclass(slots=True)
class _Window:
    """Sums since the last row."""

    loss: float = 0.0
    steps: int = 0
    heard_s: float = 0.0
    trained_s: float = 0.0


@dataclass(slots=True)
class Held:
    """What is validated on: speech, and which of its utterances."""

    speech: Speech
    indices: list[int] = field(default_factory=list)


class Trainer:
    """Moves a model. `out` gets the checkpoint, the validated weights and the figures.

    model: on its device; `resume` goes on from the checkpoint of `out`, if there is one. Raises CheckpointError where
    that is of another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Conformer,
        tokens: TokenTable,
        feed: Feed,
        held: Held,
        out: Path,
        ranks: Ranks | None = None,
        resume: bool = True,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.recipe, self.model, self.tokens, self.out = recipe, model, tokens, out
        self._feed, self._held, self._ranks = feed, held, ranks or Ranks()
        self._interrupted = interrupted
        self.trainable = Trainable(model, recipe.trainable)
        self.deltas = self.trainable.deltas
        self._objective = Objective(model, self.trainable, recipe.loss)
        self._optimiser = make_optimiser(self.trainable, recipe.optimiser)
        self.rounder = None if recipe.run.rounding == "none" else Rounder(model, recipe.run.rounding)
        self.at = Checkpoint(_fingerprint(recipe, self._ranks.world), {}, {}, {})
        if recipe.run.ema:
            self.at.ema = {name: p.detach().clone() for name, p in self.trainable.moving.items()}
        if resume and (out / CHECKPOINT).is_file():
            self._restore(read_checkpoint(out / CHECKPOINT))
        self.progress: Progress | None = None
        self._window = _Window()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.mean.device

    def run(self) -> str:
        """Train to the end; return what ended it: steps, epochs, minutes or patience.

        Raises KeyboardInterrupt, with the checkpoint written, where `interrupted` says so.
        """
        at, every = self.at, self.recipe.run.validate_every_steps
        if not at.step and not at.wers:
            self._validate()
        with ahead(self._feed.batches(at.epoch, at.position, self._ranks.rank, self._ranks.world)) as batches:
            while (ended := self._ended()) is None:
                if self._told_to_stop():
                    self._save()
                    raise KeyboardInterrupt
                self._step(batches)
                if at.step % every == 0:
                    self._validate()
                elif at.step % ROW_STEPS == 0:
                    self._report()
        if at.step not in at.wers:
            self._validate()
        return ended

    @property
    def validates(self) -> bool:
        """Tell whether there is anything to validate on."""
        return bool(self._held.indices)

    def done(self) -> float:
        """Tell how much of the run is done, 0 to 1, by the bound that is nearest."""
        return max(self._shares().values())

    def chosen(self) -> list[Path]:
        """Name the files of the validated weights that the recipe wants averaged."""
        run = self.recipe.run
        steps = [step for step in self.at.wers if step]
        by_wer = run.average == "best" and bool(self._held.indices)
        kept = sorted(steps, key=lambda s: (self.at.wers[s], -s) if by_wer else (-s, 0))[: run.average_count]
        return [self._weights_of(step) for step in kept]

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put weights in the place of what moves."""
        with torch.no_grad():
            for name, parameter in self.trainable.moving.items():
                parameter.copy_(weights[name])

    def _shares(self) -> dict[str, float]:
        run, at = self.recipe.run, self.at
        bounds = {
            "steps": (at.step, run.steps),
            "epochs": (at.epoch + at.position / at.count, run.epochs),
            "minutes": (at.trained_s / 60, run.minutes),
        }
        return {name: value / bound for name, (value, bound) in bounds.items() if bound is not None}

    def _ended(self) -> str | None:
        reached = [name for name, share in self._shares().items() if share >= 1]
        patience, wers = self.recipe.run.patience, self.at.wers
        if not reached and patience and self._held.indices:
            best = min((wer, step) for step, wer in wers.items())[1] if wers else 0
            if sum(step > best for step in wers) >= patience:
                reached = ["patience"]
        return reached[0] if reached else None

    def _told_to_stop(self) -> bool:
        return bool(self._ranks.agreed([float(self._interrupted())], self.device)[0])

    def _step(self, batches: Iterator[tuple[Place, Batch]]) -> None:
        began, settings, at = time.monotonic(), self.recipe.optimiser, self.at
        self.trainable.thaw(at.step)
        set_rates(self._optimiser, self.trainable, self._rate())
        torch.manual_seed(_seed(self.recipe.run.seed, at.step, self._ranks.rank))  # dropout
        self.model.train()
        loss = heard_s = 0.0
        with self._rounded():
            for _ in range(settings.accumulate):
                place, batch = next(batches)
                with self._precision():
                    share = self._objective(batch.to(self.device)) / settings.accumulate
                torch.autograd.backward(share)
                loss, heard_s = loss + share.item(), heard_s + batch.audio_s
                at.epoch, at.position, at.count = place.epoch, place.position, place.count
        if not math.isfinite(loss):
            raise TrainingError(f"step {at.step + 1}: the loss is {loss}; lower optimiser.rate or raise warmup_steps")
        parameters = [p for p in self.trainable.moving.values() if p.requires_grad]
        self._ranks.average_gradients(parameters)
        clip(parameters, settings)
        self._optimiser.step()
        self._optimiser.zero_grad()
        at.step += 1
        self._average_in()
        self._count(loss, heard_s * self._ranks.world, time.monotonic() - began)

    def _rate(self) -> float:
        settings = self.recipe.optimiser
        return settings.rate * rate_factor(settings, self.at.step, self.done())

    def _count(self, loss: float, heard_s: float, spent_s: float) -> None:
        """Count a step; all processes go by the first one's clock."""
        self.at.trained_s += self._ranks.agreed([spent_s], self.device)[0]
        self.at.heard_s += heard_s
        window = self._window
        window.loss, window.steps = window.loss + loss, window.steps + 1
        window.heard_s, window.trained_s = window.heard_s + heard_s, window.trained_s + spent_s

    def _average_in(self) -> None:
        """Follow what moves with the moving average; its decay begins low (Tan, Le 2019 by way of TensorFlow's EMA)."""
        if not self.at.ema:
            return
        decay = min(self.recipe.run.ema, (1 + self.at.step) / (10 + self.at.step))
        moving = [self.trainable.moving[name].detach() for name in self.at.ema]
        torch._foreach_lerp_(list(self.at.ema.values()), moving, 1 - decay)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Have the moving average in the model's place, if there is one."""
        before = {name: self.trainable.moving[name].detach().clone() for name in self.at.ema}
        if before:
            self.load(self.at.ema)
        try:
            yield
        finally:
            if before:
                self.load(before)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.run.precision == "bf16")

    def _rounded(self) -> AbstractContextManager[None]:
        return nullcontext() if self.rounder is None else self.rounder.applied()

    def _validate(self) -> None:
        """Judge the weights; keep them and the checkpoint (but at step 0)."""
        held, at, ranks = self._held, self.at, self._ranks
        self.model.eval()
        with self._averaged():
            with self._rounded(), self._precision():
                mine = held.indices[ranks.rank :: ranks.world]
                score = word_errors(self.model, self.deltas, held.speech, mine, self.tokens)
            errors, words = ranks.total([score.errors, score.words], self.device)
            at.wers[at.step] = Score(int(errors), int(words)).wer
            if at.step and not ranks.rank:
                weights = {name: p.detach().cpu() for name, p in self.trainable.moving.items()}
                write_weights(self._weights_of(at.step), weights)
        self._report(at.wers[at.step] if held.indices else None)
        if at.step:
            self._save()
            if not ranks.rank:
                remove_but(self.out / WEIGHTS, self.chosen())

    def _report(self, wer: float | None = None) -> None:
        window, at = self._window, self.at
        self._window = _Window()
        if self.progress is None:
            return
        row = Row(at.step, at.epoch + at.position / at.count, at.trained_s / 60, wer=wer)
        if window.steps:
            speed = window.heard_s / window.trained_s
            rate = self._rate()
            row = Row(row.step, row.epoch, row.minutes, rate, window.loss / window.steps, speed, wer)
        self.progress.add(row)
        if wer is not None:
            self.progress.draw()

    def _weights_of(self, step: int) -> Path:
        return self.out / WEIGHTS / f"step-{step:07}.pt"

    def _save(self) -> None:
        """Write the checkpoint; the first process does, the others wait."""
        if not self._ranks.rank:
            self.at.weights = {name: p.detach() for name, p in self.trainable.moving.items()}
            self.at.optimiser = self._optimiser.state_dict()
            write_checkpoint(self.out / CHECKPOINT, self.at)
        self._ranks.wait()

    def _restore(self, saved: Checkpoint) -> None:
        if saved.recipe != self.at.recipe:
            raise TrainingError(
                f"{self.out}: holds a run of another recipe (only [run] may change, but for its seed); "
                "give another --out, or --no-resume to begin anew"
            )
        self.load(saved.weights)
        self._optimiser.load_state_dict(saved.optimiser)
        saved.ema = {name: value.to(self.device) for name, value in saved.ema.items()} if self.recipe.run.ema else {}
        if self.recipe.run.ema and not saved.ema:
            saved.ema = self.at.ema
        self.at = saved


def _fingerprint(recipe: Recipe, world: int) -> str:
    return f"{recipe.model_dump_json(exclude={'run'})} seed {recipe.run.seed}, {world} processes"


def _seed(*numbers: int) -> int:
    """Make one seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
