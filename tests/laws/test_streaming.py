"""Law 2: chunk by chunk in ONNX Runtime equals the chunk-masked forward in PyTorch, at any length and chunk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.runtime import Runtime  # noqa: E402
from myna.models.spec import ModelSpec  # noqa: E402
from tests.data.make_tiny_bundle import OTHER, SPEC, tiny_model  # noqa: E402
from tests.models.streams import TorchRuntime, empty_caches, ints, model_of, speech_like, stream, whole  # noqa: E402
from tests.support import TINY, TINY_4  # noqa: E402

BUNDLE = read_bundle(TINY)
RUNTIME, MODEL = Runtime(BUNDLE), model_of(BUNDLE)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 24), st.integers(1, 5), st.integers(0, 99))
def test_a_stream_is_the_masked_whole(frames: int, chunk: int, left_chunks: int, seed: int) -> None:
    feats = speech_like(BUNDLE.spec, frames, seed)
    streamed = stream(RUNTIME, feats, chunk, chunk * left_chunks)
    assert streamed.shape == (frames, BUNDLE.spec.vocabulary)
    assert np.abs(streamed - whole(MODEL, feats, chunk, left_chunks)).max() < 1e-4


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 70), st.integers(1, 24), st.integers(0, 99))
def test_all_left_context_and_one_chunk_are_streams_too(frames: int, chunk: int, seed: int) -> None:
    feats = speech_like(BUNDLE.spec, frames, seed)
    assert np.abs(stream(RUNTIME, feats, chunk, -1) - whole(MODEL, feats, chunk)).max() < 1e-4
    assert np.abs(stream(RUNTIME, feats, frames, 0) - whole(MODEL, feats)).max() < 1e-4


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 16), min_size=1, max_size=4), st.integers(0, 99))
def test_the_future_is_not_heard(sizes: list[int], seed: int) -> None:
    """What a chunk says does not depend on what comes after its last frame's window."""
    spec = BUNDLE.spec
    feats = speech_like(spec, sum(sizes), seed)
    part = feats[: spec.features_needed(sizes[0])]
    alone = stream(RUNTIME, part, sizes[0], spec.left_frames)
    assert np.array_equal(stream(RUNTIME, feats, sizes[0], spec.left_frames)[: sizes[0]], alone)


def test_a_conformer_of_other_parts_streams_too() -> None:
    bundle = read_bundle(TINY_4)
    for frames, chunk, left_chunks in ((37, 8, 2), (5, 8, 1), (30, 5, 4)):
        feats = speech_like(bundle.spec, frames, seed=frames)
        streamed = stream(Runtime(bundle), feats, chunk, chunk * left_chunks)
        assert np.abs(streamed - whole(model_of(bundle), feats, chunk, left_chunks)).max() < 1e-4


@pytest.mark.parametrize("macaron", [True, False])
@pytest.mark.parametrize("positions", ["key", "absolute", "none"])
@pytest.mark.parametrize("conv_history", ["gate", "zeros"])
@pytest.mark.parametrize("subsampling", [4, 6, 8])
def test_every_kind_of_conformer_streams_in_pytorch(
    macaron: bool, positions: str, conv_history: str, subsampling: int
) -> None:
    chosen = {"macaron": macaron, "positions": positions, "conv_history": conv_history, "subsampling": subsampling}
    model = tiny_model(ModelSpec.model_validate(SPEC.model_dump() | chosen))
    feats = speech_like(model.spec, 33, seed=1)
    streamed = stream(TorchRuntime(model), feats, 7, 14)
    assert np.abs(streamed - whole(model, feats, 7, 2)).max() < 1e-4


def test_activations_are_those_between_the_blocks() -> None:
    spec = BUNDLE.spec
    feats = speech_like(spec, 9, seed=1)[: spec.features_needed(9)]
    step = RUNTIME.step(feats[None], ints(9), ints(0), ints(0), *empty_caches(spec, 1), activations=True)
    assert step.activations is not None
    assert step.activations.shape == (1, spec.blocks + 1, 9, spec.width)
    with torch.no_grad():
        top = torch.from_numpy(step.activations[:, -1])
        log_probs = torch.log_softmax(MODEL.head(MODEL.norm(top)), -1)
    assert np.abs(log_probs.numpy() - step.log_probs).max() < 1e-4
    assert RUNTIME.step(feats[None], ints(9), ints(0), ints(0), *empty_caches(spec, 1)).activations is None


@pytest.mark.parametrize(("path", "spec"), [(TINY, SPEC), (TINY_4, OTHER)])
def test_the_committed_bundles_are_what_their_script_makes(path: Path, spec: ModelSpec) -> None:
    bundle = read_bundle(path)
    assert bundle.spec == spec
    made = tiny_model(spec).state_dict()
    for name, value in model_of(bundle).state_dict().items():
        assert torch.equal(value, made[name]), name
