"""From recipe to result; the bundle itself is in test_cli.py, for writing one takes seconds."""

import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.follow import follow, plan
from myna.adapt.start import Start
from myna.adapt.train import Trainer, TrainingError
from myna.models.bundle import tokens_text
from tests.adapt import runs
from tests.adapt.made import LETTERS
from tests.adapt.test_start import SIZES

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep bundles from being written; their cards are here."""
    cards: list[str] = []

    def note(out: Path, start: Start, told: str) -> None:
        cards.append(told)

    monkeypatch.setattr("myna.adapt.follow.write_result", note)
    return cards


def test_adapters_are_folded_in(tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs.speech(tmp_path)
    result = follow(runs.recipe(tmp_path, trainable={"mode": "lora"}, run={"steps": 4}), tmp_path / "out")
    assert (result.steps, result.ended_by, len(written)) == (4, "steps", 1)
    assert "4 steps" in written[0]
    assert result.averaged_steps in ((3,), (4,))
    assert (tmp_path / "out/progress.png").is_file()


def test_from_scratch_with_a_share_to_test_on(tmp_path: Path, written: list[str]) -> None:
    source = {"kind": "manifest", "path": runs.speech(tmp_path), "text_column": "speaker"}
    (tmp_path / "units.txt").write_bytes(tokens_text(LETTERS))
    recipe = runs.recipe(
        tmp_path,
        model={"init": "scratch", "tokens": tmp_path / "units.txt", "spec": SIZES},
        data={"train": [source | {"text_column": "audio"}], "valid": [], "shares": [0.5, 0.25, 0.25]},
        run={"steps": 1},
    )
    with pytest.raises(TrainingError, match=r"no utterance is left to learn from .*unspellable"):
        follow(recipe, tmp_path / "out")
    assert (plan(recipe, tmp_path / "out").test_utterances, written) == (2, [])


def test_a_signal_writes_the_checkpoint(tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs.speech(tmp_path)
    step = Trainer._step

    def signalled(self: Trainer, batches: object) -> None:
        step(self, batches)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_step", signalled)
    recipe = runs.recipe(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        follow(recipe, tmp_path / "out")
    monkeypatch.undo()
    assert plan(recipe, tmp_path / "out").resumes
    assert runs.trainer(recipe, tmp_path / "out").at.step == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    runs.speech(tmp_path)
    planned = plan(runs.recipe(tmp_path, trainable={"mode": "top", "layer_decay": 0.5}), tmp_path / "out")
    assert (planned.train_utterances, planned.valid_utterances, planned.resumes) == (8, 8, False)
    assert planned.moving == sum(group["parameters"] for group in planned.groups) < planned.parameters
    assert planned.corpora == {"speech": 8}
    assert not (tmp_path / "out").exists()
