"""Tiny training runs on made speech; `python -m tests.adapt.runs FOLDER OUT STEP` is killed by itself at that step."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from myna.adapt.augment import Augmenter
from myna.adapt.feed import Feed
from myna.adapt.ranks import Ranks
from myna.adapt.recipe import Recipe
from myna.adapt.speech import Speech
from myna.adapt.start import begin, read_portions
from myna.adapt.train import Held, Trainer
from myna.adapt.validate import choose
from tests.adapt.made import write
from tests.support import TINY

TEXTS = ("ba di", "ga mu", "ti")
EXACT = {
    "run": {"steps": 9, "validate_every_steps": 3, "ema": 0.5},
    "optimiser": {"accumulate": 2, "rate": 3e-3},
    "model": {"dropout": 0.1},
    "loss": {"consistency_weight": 0.2},
}


def speech(folder: Path, count: int = 8) -> Path:
    """Write a manifest of made speech."""
    rows = []
    for i in range(count):
        write(folder / f"{i}.wav", 1.0 + 0.1 * i, i % 3)
        rows.append({"audio": f"{i}.wav", "text": TEXTS[i % 3], "speaker": f"s{i % 4}"})
    (folder / "speech.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "speech.jsonl"


def recipe(folder: Path, **sections: dict[str, Any]) -> Recipe:
    """Make a recipe for the speech in a folder, which is validated on as well."""
    source = {"kind": "manifest", "path": folder / "speech.jsonl"}
    values: dict[str, dict[str, Any]] = {
        "model": {"init": str(TINY)},
        "data": {"train": [source], "valid": [source], "batch_s": 6.0},
        "optimiser": {"rate": 1e-2, "warmup_steps": 2},
        "run": {"steps": 6, "validate_every_steps": 3, "threads": 1, "device": "cpu", "precision": "fp32"},
    }
    for name, fields in sections.items():
        values[name] = values.get(name, {}) | fields
    return Recipe.model_validate(values)


def trainer(
    recipe: Recipe,
    out: Path,
    resume: bool = True,
    interrupted: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> Trainer:
    """Make ready what a recipe says, without a bundle at the end."""
    start, portions, run = begin(recipe.model, recipe.run.seed), read_portions(recipe.data, 0), recipe.run
    spec, cache = start.model.spec, out / "cache"
    heard = Speech(portions.train, start.tokens, spec, recipe.data, cache)
    valid = Speech(portions.valid, start.tokens, spec, recipe.data, cache)
    views = 2 if recipe.loss.consistency_weight else 1
    feed = Feed(heard, Augmenter(recipe.augment, heard), spec, recipe.chunks, run.seed, views)
    held = Held(valid, choose(valid, run.validation_utterances, run.seed))
    return Trainer(recipe, start.model, start.tokens, feed, held, out, ranks, resume, interrupted)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """Copy all of the model's parameters and those of its adapters."""
    deltas = dict(trainer.deltas.named()) if trainer.deltas else {}
    return {name: p.detach().clone() for name, p in [*trainer.model.named_parameters(), *deltas.items()]}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def main(folder: Path, out: Path, step: int) -> None:
    """Train until a step is reached, then die as in a power cut."""
    torch.set_num_threads(1)

    def kill() -> bool:
        if running.at.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    running = trainer(recipe(folder, **EXACT), out, interrupted=kill)
    running.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
