"""The loop: what moves moves and learns, what is frozen stays to the bit, a killed run ends as if it had not been."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.checkpoint import average_weights  # noqa: E402
from myna.adapt.progress import Progress  # noqa: E402
from myna.adapt.train import CHECKPOINT, Trainer, TrainingError  # noqa: E402
from tests.adapt import runs  # noqa: E402
from tests.support import ROOT  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("speech")
    runs.speech(made)
    return made


def changed(trainer: Trainer, before: dict[str, Any]) -> set[str]:
    after = runs.weights(trainer)
    return {name for name in after if not torch.equal(after[name], before[name])}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_learns_what_it_hears(folder: Path, tmp_path: Path, precision: str) -> None:
    run = {"steps": 80, "validate_every_steps": 40, "precision": precision}
    trainer = runs.trainer(runs.recipe(folder, run=run), tmp_path)
    trainer.progress = Progress(tmp_path)
    assert trainer.run() == "steps"
    losses = [row.loss for row in trainer.progress.rows if row.loss is not None]
    assert losses[-1] < losses[0] / 3
    assert trainer.at.wers[80] < trainer.at.wers[0]
    assert len(losses) == 4


@pytest.mark.parametrize(
    ("trainable", "moved"),
    [
        ({"mode": "top", "top_blocks": 1}, {"head", "norm", "blocks.1"}),
        ({"mode": "adapters", "rank": 2}, {"adapters.0", "adapters.1"}),
        ({"freeze": ["^blocks", "^norm"]}, {"head", "subsampling"}),
    ],
)
def test_what_is_frozen_stays_to_the_bit(
    folder: Path, tmp_path: Path, trainable: dict[str, Any], moved: set[str]
) -> None:
    run, decay = {"steps": 3, "ema": 0.5}, {"weight_decay": 0.1}
    trainer = runs.trainer(runs.recipe(folder, trainable=trainable, run=run, optimiser=decay), tmp_path)
    before = runs.weights(trainer)
    trainer.run()
    found = changed(trainer, before)
    assert found == set(trainer.trainable.moving)
    assert {".".join(n.split(".")[: 1 + n.startswith(("blocks", "adapters"))]) for n in found} == moved


def test_gradual_unfreezing(folder: Path, tmp_path: Path) -> None:
    trainable, decay = {"unfreeze_every_steps": 2}, {"weight_decay": 0.1}
    deepest = []
    for steps in (2, 4, 6, 7):
        recipe = runs.recipe(folder, trainable=trainable, run={"steps": steps}, optimiser=decay)
        trainer = runs.trainer(recipe, tmp_path / str(steps))
        before = runs.weights(trainer)
        trainer.run()
        deepest.append(max(trainer.trainable.depth(name) for name in changed(trainer, before)))
    assert deepest == [0, 1, 2, 3]


def test_a_killed_run_ends_as_one_that_was_not(folder: Path, tmp_path: Path) -> None:
    recipe = runs.recipe(folder, **runs.EXACT)
    command = [sys.executable, "-m", "tests.adapt.runs", str(folder), str(tmp_path / "killed"), "5"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole, resumed = runs.trainer(recipe, tmp_path / "whole"), runs.trainer(recipe, tmp_path / "killed")
    assert resumed.at.step == 3
    whole.run()
    resumed.run()
    assert runs.same(runs.weights(whole), runs.weights(resumed))
    assert runs.same(whole.at.ema, resumed.at.ema)
    assert whole.at.wers == resumed.at.wers
    files = [torch.load(t.chosen()[0], weights_only=True) for t in (whole, resumed)]
    assert runs.same(*files)


def test_a_run_that_is_told_to_stop_goes_on_from_there(folder: Path, tmp_path: Path) -> None:
    recipe, asked = runs.recipe(folder, run={"steps": 5}), [False]
    whole = runs.trainer(recipe, tmp_path / "whole")
    whole.run()
    stopped = runs.trainer(recipe, tmp_path / "stopped", interrupted=lambda: stopped.at.step == 2)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = runs.trainer(recipe, tmp_path / "stopped", interrupted=lambda: asked[0])
    assert resumed.at.step == 2
    resumed.run()
    assert runs.same(runs.weights(whole), runs.weights(resumed))
    anew = runs.trainer(recipe, tmp_path / "stopped", resume=False)
    assert anew.at.step == 0


def test_patience_ends_a_run(folder: Path, tmp_path: Path) -> None:
    run = {"steps": 50, "validate_every_steps": 1, "patience": 2}
    trainer = runs.trainer(runs.recipe(folder, run=run, optimiser={"rate": 1e-12}), tmp_path)
    assert trainer.run() == "patience"
    assert trainer.at.step == 2


@pytest.mark.parametrize(("bound", "ended"), [({"epochs": 1.5}, "epochs"), ({"minutes": 1e-4}, "minutes")])
def test_other_bounds(folder: Path, tmp_path: Path, bound: dict[str, float], ended: str) -> None:
    trainer = runs.trainer(runs.recipe(folder, run={"steps": None} | bound), tmp_path)
    assert trainer.run() == ended
    assert trainer.done() >= 1


@pytest.mark.parametrize("average", ["last", "best"])
def test_which_weights_are_averaged(folder: Path, tmp_path: Path, average: str) -> None:
    run = {"steps": 4, "validate_every_steps": 1, "average": average, "average_count": 2}
    trainer = runs.trainer(runs.recipe(folder, run=run), tmp_path)
    trainer.run()
    kept = sorted((tmp_path / "weights").iterdir())
    assert sorted(trainer.chosen()) == kept
    if average == "last":
        assert [path.stem for path in kept] == ["step-0000003", "step-0000004"]
        assert runs.same(torch.load(kept[1], weights_only=True), dict(trainer.trainable.moving))
    trainer.load(average_weights(kept))


def test_the_moving_average_is_validated_and_kept(folder: Path, tmp_path: Path) -> None:
    trainer = runs.trainer(runs.recipe(folder, run={"steps": 3, "ema": 0.9}), tmp_path)
    trainer.run()
    kept = torch.load(trainer.chosen()[0], weights_only=True)
    assert runs.same(kept, trainer.at.ema)
    assert not runs.same(kept, dict(trainer.trainable.moving))


def test_another_recipe_does_not_go_on(folder: Path, tmp_path: Path) -> None:
    runs.trainer(runs.recipe(folder, run={"steps": 1}), tmp_path).run()
    assert (tmp_path / CHECKPOINT).is_file()
    assert runs.trainer(runs.recipe(folder, run={"steps": 2}), tmp_path).at.step == 1
    for other in ({"optimiser": {"rate": 1e-3}}, {"run": {"seed": 1}}):
        with pytest.raises(TrainingError, match="another recipe"):
            runs.trainer(runs.recipe(folder, **other), tmp_path)


def test_a_loss_that_is_lost_is_named(folder: Path, tmp_path: Path) -> None:
    trainer = runs.trainer(runs.recipe(folder), tmp_path)
    with torch.no_grad():
        trainer.model.head.get_parameter("bias").fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan; lower optimiser\.rate"):
        trainer.run()
