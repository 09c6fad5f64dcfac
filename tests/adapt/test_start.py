"""What a run begins with: a bundle, a WeNet folder, or nothing; other tokens; the portions of the data."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.recipe import ModelSettings, RecipeError  # noqa: E402
from myna.adapt.settings import DataSettings, Source  # noqa: E402
from myna.adapt.speech import Speech  # noqa: E402
from myna.adapt.start import begin, fit_normalisation, read_portions, write_utterances  # noqa: E402
from myna.models.bundle import read_bundle, tokens_text, write_bundle  # noqa: E402
from myna.models.features import filterbank  # noqa: E402
from myna.models.nn.quantize import quantize_step  # noqa: E402
from tests.adapt import runs  # noqa: E402
from tests.adapt.made import LETTERS  # noqa: E402
from tests.models.streams import model_of  # noqa: E402
from tests.support import CALIBRATION, TINY, calibrated  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = {
    "subsampling": 4, "blocks": 1, "heads": 2, "width": 16, "feed_forward": 16, "kernel": 3,
    "chunk_frames": 8, "chunk_choices_frames": [8], "left_frames": 32,
}  # fmt: skip


def settings(**values: Any) -> ModelSettings:
    return ModelSettings.model_validate({"init": str(TINY)} | values)


def table(folder: Path) -> Path:
    (folder / "units.txt").write_bytes(tokens_text(LETTERS))
    return folder / "units.txt"


def test_a_bundle_s_weights() -> None:
    start = begin(settings(dropout=0.2, name="mine", spec={"chunk_frames": 16}), 0)
    expected = model_of(read_bundle(TINY)).state_dict()
    assert runs.same(dict(start.model.state_dict()), dict(expected))
    assert start.model.blocks[0].dropout == 0.2
    assert (start.manifest.name, start.manifest.spec.chunk_frames, start.model.spec.chunk_frames) == ("mine", 16, 16)
    assert "Random weights" in start.card


def test_other_tokens_take_a_new_output_layer(tmp_path: Path) -> None:
    start = begin(settings(tokens=table(tmp_path)), 0)
    before = model_of(read_bundle(TINY)).state_dict()
    assert start.model.spec.vocabulary == start.manifest.spec.vocabulary == len(LETTERS.units)
    assert start.model.head.weight.shape == (32, len(LETTERS.units))
    same = {n for n, v in start.model.state_dict().items() if v.shape == before[n].shape and torch.equal(v, before[n])}
    assert set(before) - same == {"head.weight", "head.bias"}
    assert start.tokens.units == LETTERS.units


def test_a_calibration_goes_with_the_output_layer(tmp_path: Path) -> None:
    init = str(calibrated(tmp_path / "tiny"))
    assert begin(settings(init=init), 0).manifest.confidence == CALIBRATION
    assert begin(settings(init=init, tokens=table(tmp_path)), 0).manifest.confidence is None


def test_from_scratch_by_the_seed(tmp_path: Path) -> None:
    scratch = settings(init="scratch", tokens=table(tmp_path), spec=SIZES)
    one, again, other = (dict(begin(scratch, seed).model.state_dict()) for seed in (1, 1, 2))
    assert runs.same(one, again)
    assert not runs.same(one, other)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"init": "absent"}, "no bundle absent"),
        ({"name": "Not A Name"}, "model.name: "),
        ({"spec": {"chunk_frames": 0}}, "model.spec: chunk_frames: "),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        begin(settings(**values), 0)


def test_rounded_weights_are_a_start(tmp_path: Path) -> None:
    before = read_bundle(TINY)
    quantize_step(before.step_path, tmp_path / "step.onnx", "int4")
    manifest = before.manifest.model_copy(update={"precision": "int4"})
    files: dict[str, bytes | Path] = {"step.onnx": tmp_path / "step.onnx", "tokens.txt": TINY / "tokens.txt"}
    write_bundle(tmp_path / "small", manifest, files | {"MODEL_CARD.md": b"small"})
    start = begin(settings(init=str(tmp_path / "small")), 0)
    assert start.manifest.precision == "fp32"  # of what comes out
    full = begin(settings(), 0).model.state_dict()
    for name, value in start.model.state_dict().items():
        assert torch.allclose(value, full[name], atol=0.13 * float(full[name].abs().max()))


def test_normalisation_is_that_of_the_speech(tmp_path: Path) -> None:
    runs.speech(tmp_path, 3)
    data = DataSettings(train=[Source(kind="manifest", path=tmp_path / "speech.jsonl")])
    start = begin(settings(), 0)
    speech = Speech(read_portions(data, 0).train, start.tokens, start.model.spec, data, tmp_path / "cache")
    fit_normalisation(start.model, speech)
    feats = torch.cat(
        [torch.from_numpy(filterbank(start.model.spec.features).push(speech.samples(i))) for i in range(len(speech))]
    )
    assert torch.allclose(start.model.mean, feats.mean(0), atol=1e-2)
    assert torch.allclose(start.model.istd, 1 / feats.std(0), rtol=1e-2)


def test_portions(tmp_path: Path) -> None:
    source = Source(kind="manifest", path=runs.speech(tmp_path))
    parts = read_portions(DataSettings(train=[source], shares=(0.5, 0.25, 0.25)), 0)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (4, 2, 2)
    named = read_portions(DataSettings(train=[source], valid=[source]), 0)
    assert named.train == named.valid
    assert not named.test
    halves = [read_portions(DataSettings(train=[source], folds=2), 0, fold) for fold in range(2)]
    assert halves[0].train == halves[1].valid
    with pytest.raises(RecipeError, match="--fold is 0 to 1"):
        read_portions(DataSettings(train=[source], folds=2), 0, 2)
    write_utterances(tmp_path / "test.jsonl", parts.test)
    again = read_portions(
        DataSettings(train=[Source(kind="manifest", path=tmp_path / "test.jsonl")], valid=[source]), 0
    )
    assert [(u.audio, u.text, u.speaker) for u in again.train] == [(u.audio, u.text, u.speaker) for u in parts.test]
