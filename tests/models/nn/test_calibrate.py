"""Calibration: which clips are heard, the moments of what is heard, and the rounding that makes use of them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from torch import Tensor  # noqa: E402

from myna.models.errors import ImportFailed  # noqa: E402
from myna.models.features import filterbank  # noqa: E402
from myna.models.nn.calibrate import MAX_ROWS, features_of, input_moments, round_with_feedback  # noqa: E402
from myna.models.nn.quantize import Rounding, round_to_nearest, values  # noqa: E402
from myna.models.spec import FeatureSpec  # noqa: E402
from tests.data.make_tiny_bundle import tiny_model  # noqa: E402
from tests.models.streams import Floats, sinusoids, small_spec, speech_like, walk  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
ROUNDINGS = [Rounding(4, 16), Rounding(4, 32), Rounding(8, 32), Rounding(8, 128)]


def written(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "speech.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def clip(path: Path, samples: int = 4000, rate_hz: int = 16000, channels: int = 1) -> NDArray[np.int16]:
    """Write noise whose length tells it apart from other clips."""
    wave = np.random.default_rng(samples).integers(-9000, 9000, (samples, channels)).astype(np.int16)
    soundfile.write(path, wave, rate_hz)
    return wave[:, 0]


@pytest.mark.parametrize(
    ("count", "heard"),
    [
        (1, [0]),
        (2, [0, 5]),
        (3, [0, 3, 6]),
        (4, [0, 2, 5, 7]),
        (9, [*range(9)]),
        (10, [*range(10)]),
        (99, [*range(10)]),
    ],
)
def test_so_many_clips_are_heard_evenly_spread(tmp_path: Path, count: int, heard: list[int]) -> None:
    waves = [clip(tmp_path / f"{i}.wav", 1000 + 160 * i) for i in range(10)]
    manifest = written(tmp_path, [json.dumps({"audio": f"{i}.wav", "text": "so"}) for i in range(10)])
    feats = list(features_of(manifest, FeatureSpec(), count))
    assert [len(f) for f in feats] == [4 + i for i in heard]
    for i, found in zip(heard, feats, strict=True):
        assert np.array_equal(found, filterbank(FeatureSpec()).push(waves[i]))


@pytest.mark.parametrize(
    "line",
    ["", "{", "5", '["a.wav"]', '{"text": "so"}', '{"audio": 5}', '{"audio": null}', '{"audio": "none.wav"}',
     '{"audio": "speech.jsonl"}'],
)  # fmt: skip
def test_a_line_that_names_no_clip_is_named(tmp_path: Path, line: str) -> None:
    clip(tmp_path / "a.wav")
    manifest = written(tmp_path, ['{"audio": "a.wav"}', line])
    feats = features_of(manifest, FeatureSpec(), 2)
    assert len(next(feats)) == 23
    with pytest.raises(ImportFailed, match=r"speech\.jsonl: line 2: "):
        next(feats)


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (16000, 2)])
def test_a_clip_of_another_format_is_named(tmp_path: Path, rate_hz: int, channels: int) -> None:
    clip(tmp_path / "a.wav", rate_hz=rate_hz, channels=channels)
    with pytest.raises(ImportFailed, match="line 1: must be mono at 16000 Hz"):
        list(features_of(written(tmp_path, ['{"audio": "a.wav"}']), FeatureSpec(), 1))


def test_moments_are_those_of_the_inputs_by_hand() -> None:
    """In the chunks that are served: from the features, and from the activations of a stream."""
    model = tiny_model(small_spec(subsampling=4, left_frames=9)).requires_grad_(False)
    spec = model.spec
    assert (spec.chunk_frames, spec.left_frames // spec.chunk_frames) == (4, 2)
    utterances = [speech_like(spec, frames, seed=1)[: spec.features_needed(frames)] for frames in (8, 13)]
    expected = dict[str, Tensor]()
    for feats, sizes in zip(utterances, [[4, 4], [4, 4, 4, 1]], strict=True):
        steps = walk(model, torch.from_numpy(feats)[None], sizes, left_chunks=2)
        activations = torch.cat([step.activations for step in steps], 2)[0]
        inputs = {
            "blocks.0.attention.position": sinusoids(torch.arange(sum(sizes)), spec.width).float(),
            "head": model.norm(activations[-1]),
        }
        for i in range(spec.blocks):
            norm = model.get_submodule(f"blocks.{i}.ff1.norm")
            inputs[f"blocks.{i}.ff1.expand"] = norm(activations[i])
        patches = ((torch.from_numpy(feats) - model.mean) * model.istd).unfold(0, 3, 2).unfold(1, 3, 2).reshape(-1, 9)
        assert len(patches) <= MAX_ROWS
        inputs["subsampling.convolutions.0.project"] = patches
        for name, x in inputs.items():
            expected[name] = expected.get(name, torch.tensor(0.0)) + x.T @ x
    moments = input_moments(model, utterances)
    for name, moment in expected.items():
        assert torch.allclose(moments[f"{name}.weight"], moment, rtol=1e-3, atol=1e-3), name
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_utterance_counts_by_some_of_its_rows_at_most() -> None:
    """The squares of a normed row sum to its width: so many rows were heard. What is too short isn't."""
    model = tiny_model(small_spec(norm_eps=1e-12))
    torch.nn.init.ones_(model.norm.weight)
    torch.nn.init.zeros_(model.norm.bias)
    utterances = [speech_like(model.spec, frames, seed=frames) for frames in (250, 9, 201)]
    short = utterances[1][: model.spec.window_frames - 1]
    moments = input_moments(model, [short, *utterances])
    rows = float(moments["head.weight"].trace()) / model.spec.width
    assert rows == pytest.approx(MAX_ROWS + 9 + MAX_ROWS, rel=1e-4)
    again = input_moments(model, utterances)
    assert all(torch.equal(moments[name], again[name]) for name in moments)


def test_silence_gives_no_moments() -> None:
    model = tiny_model(small_spec())
    short = np.zeros((model.spec.window_frames - 1, model.spec.features.mels), np.float32)
    for nothing in ([], [short]):
        with pytest.raises(ImportFailed, match="no speech"):
            input_moments(model, nothing)


def correlated(inputs: int, seed: int) -> Tensor:
    """Second moments of inputs that hear the same three things, and something of their own."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((400, 3)) @ rng.standard_normal((3, inputs))
    x = (0.7 * common + 0.3 * rng.standard_normal((400, inputs))).astype(np.float32)
    moments: Tensor = torch.from_numpy(x.T @ x)
    return moments


def cost(weight: Floats, rounded: Floats, moments: Tensor) -> float:
    """What the errors come to in the outputs: the sum of squares of x (weight - rounded)."""
    error = (weight - rounded).astype(np.float64)
    return float(np.einsum("io,ij,jo->", error, moments.double().numpy(), error))


@pytest.mark.parametrize("rounding", ROUNDINGS, ids=lambda r: f"{r.bits}-{r.block}")
@settings(max_examples=12, deadline=None)
@given(st.integers(16, 150), st.integers(4, 24), st.integers(0, 99))
def test_feedback_costs_less_than_rounding_to_nearest(rounding: Rounding, inputs: int, outputs: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((inputs, outputs), np.float32)
    moments = correlated(inputs, seed)
    nearest, fed = round_to_nearest("", weight, rounding), round_with_feedback(weight, moments, rounding)
    costs = [cost(weight, values(r, rounding, inputs), moments) for r in (fed, nearest)]
    assert costs[0] < 0.8 * costs[1]


@pytest.mark.parametrize("rounding", ROUNDINGS, ids=lambda r: f"{r.bits}-{r.block}")
@settings(max_examples=12, deadline=None)
@given(st.integers(1, 150), st.integers(1, 24), st.integers(0, 99))
def test_it_never_costs_more_where_inputs_have_nothing_in_common(
    rounding: Rounding, inputs: int, outputs: int, seed: int
) -> None:
    """Nor need the inputs be whole blocks, all be heard, or the weights be any."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((inputs, outputs), np.float32)
    weight[:, 0] = 0
    moments = torch.from_numpy(rng.uniform(0, 9, inputs).astype(np.float32) * (rng.uniform(size=inputs) > 0.2)).diag()
    nearest, fed = round_to_nearest("", weight, rounding), round_with_feedback(weight, moments, rounding)
    assert fed.q.shape == nearest.q.shape == (outputs, math.ceil(inputs / rounding.block), rounding.block)
    assert fed.scale.shape == nearest.scale.shape
    assert (fed.q.dtype, fed.scale.dtype) == (nearest.q.dtype, nearest.scale.dtype)
    assert fed.q.max() < 1 << rounding.bits
    assert (fed.q.reshape(outputs, -1)[:, inputs:] == 1 << (rounding.bits - 1)).all()  # beyond the inputs are zeros
    weight_fed = values(fed, rounding, inputs)
    assert not weight_fed[:, 0].any()
    assert cost(weight, weight_fed, moments) <= 1.001 * cost(weight, values(nearest, rounding, inputs), moments) + 1e-6
