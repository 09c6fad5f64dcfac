"""The exported graph: the same numbers as PyTorch at any size, and the only copy of the weights."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.models.adapter import AdapterBatch  # noqa: E402
from myna.models.bundle import CARD, STEP, TOKENS, Manifest, read_bundle, write_bundle  # noqa: E402
from myna.models.errors import BundleError  # noqa: E402
from myna.models.nn.conformer import Conformer  # noqa: E402
from myna.models.nn.export import INPUTS, OUTPUTS, export_step, read_step  # noqa: E402
from myna.models.runtime import Runtime, Step  # noqa: E402
from myna.models.spec import ModelSpec  # noqa: E402
from tests.data.make_tiny_bundle import UNITS, tiny_model  # noqa: E402
from tests.models.streams import TorchRuntime, small_spec  # noqa: E402
from tests.support import ROOT, TINY, TINY_4  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
# What neither committed bundle is made of; a convolution of one frame keeps no history.
SPEC = small_spec(
    subsampling=8, positions="none", conv_norm="batch_norm", macaron=False, blocks=1, kernel=1, vocabulary=len(UNITS)
)
FIRST_FRAME, WHOLE_UTTERANCE = (1, 1, 0, 0, 0), (1, 300, 0, 2, 0)  # rows, frames, depth, rank, seed


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a model in the midst of its training and wrap it in a bundle; takes the exporter 20 s at any size."""
    folder = tmp_path_factory.mktemp("exported")
    model = Conformer(SPEC, dropout=0.5)
    model.load_state_dict(tiny_model(SPEC).state_dict())
    export_step(model.train(), folder / STEP)
    manifest = Manifest(name="fresh", version="1", precision="fp32", licence="Apache-2.0", spec=SPEC, sha256={})
    files: dict[str, bytes | Path] = {STEP: folder / STEP, TOKENS: TINY / TOKENS, CARD: TINY / CARD}
    write_bundle(folder / "fresh", manifest, files)
    return folder / "fresh"


@pytest.fixture(scope="module", params=["tiny", "tiny-4", "fresh"])
def path(request: pytest.FixtureRequest) -> Path:
    committed = {"tiny": TINY, "tiny-4": TINY_4}
    found = committed.get(request.param) or request.getfixturevalue("fresh")
    assert isinstance(found, Path)
    return found


@pytest.fixture(scope="module")
def pair(path: Path) -> tuple[Runtime, TorchRuntime]:
    """The graph in ONNX Runtime, and the seeded model that it was made of in PyTorch."""
    runtime = Runtime(read_bundle(path))
    return runtime, TorchRuntime(tiny_model(runtime.spec))


def both(
    pair: tuple[Runtime, TorchRuntime], rows: int, frames: int, depth: int, rank: int, seed: int
) -> tuple[Step, Step]:
    """Take one step of random inputs in ONNX Runtime and in PyTorch, rows of any length and history."""
    spec, rng = pair[0].spec, np.random.default_rng(seed)
    zeros = AdapterBatch.zeros(spec, rows, rank)
    bend = AdapterBatch(*(0.1 * rng.standard_normal(a.shape, np.float32) for a in (zeros.down, zeros.up, zeros.shift)))
    count = spec.features_needed(frames) + int(rng.integers(spec.subsampling))
    inputs = (
        rng.normal(10, 3, (rows, count, spec.features.mels)).astype(np.float32),
        rng.integers(1, frames, rows, endpoint=True),
        rng.integers(0, 500, rows),
        rng.integers(0, depth, rows, endpoint=True),
        rng.standard_normal((rows, spec.blocks, spec.heads, depth, spec.attention_cache_width), np.float32),
        rng.standard_normal((rows, spec.blocks, spec.kernel - 1, spec.width), np.float32),
    )
    return pair[0].step(*inputs, adapters=bend, activations=True), pair[1].step(*inputs, adapters=bend)


@settings(max_examples=20, deadline=None)
@example(FIRST_FRAME)
@example(WHOLE_UTTERANCE)
@given(st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(0, 20), st.integers(0, 4), st.integers(0, 99)))
def test_the_graph_computes_what_pytorch_does(
    pair: tuple[Runtime, TorchRuntime], sizes: tuple[int, int, int, int, int]
) -> None:
    graph, network = both(pair, *sizes)
    rows, frames, *_ = sizes
    assert graph.log_probs.shape == (rows, frames, pair[0].spec.vocabulary)
    for name in OUTPUTS:
        ours, theirs = getattr(graph, name), getattr(network, name)
        assert ours.shape == theirs.shape, name
        assert ours.dtype == np.float32, name
        assert np.abs(ours - theirs).max(initial=0) < 1e-4, name


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6))
def test_no_rank_is_any_rank_of_zeros_to_the_bit(
    pair: tuple[Runtime, TorchRuntime], rows: int, frames: int, rank: int
) -> None:
    spec, rng = pair[0].spec, np.random.default_rng(rows)
    feats = rng.normal(10, 3, (rows, spec.features_needed(frames), spec.features.mels)).astype(np.float32)
    att = rng.standard_normal((rows, spec.blocks, spec.heads, 3, spec.attention_cache_width), np.float32)
    conv = rng.standard_normal((rows, spec.blocks, spec.kernel - 1, spec.width), np.float32)
    whole, old = np.full(rows, frames), np.full(rows, 3)
    none, zeros = (
        pair[0].step(feats, whole, old, old, att, conv, AdapterBatch.zeros(spec, rows, r), activations=True)
        for r in (0, rank)
    )
    assert all(np.array_equal(getattr(none, name), getattr(zeros, name)) for name in OUTPUTS)


def test_initialisers_bear_the_names_and_values_of_the_parameters(path: Path) -> None:
    graph = onnx.load(path / STEP).graph
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    spec = read_bundle(path).spec
    weights = tiny_model(spec).state_dict()
    assert set(weights) <= set(arrays)
    assert all(np.array_equal(arrays[name], value.numpy()) for name, value in weights.items())
    # What quantisation looks for: the matrices as they are, (inputs, outputs), and no second copy.
    multiplied = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    assert {name for name, value in weights.items() if value.dim() == 2} <= multiplied
    assert max(value.size for name, value in arrays.items() if name not in weights) <= spec.width


def test_the_graph_has_the_inputs_and_outputs_of_the_contract(path: Path) -> None:
    model = onnx.load(path / STEP)
    onnx.checker.check_model(model)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    assert tuple(shapes) == INPUTS
    assert tuple(value.name for value in model.graph.output) == OUTPUTS
    free = {name: [i for i, size in enumerate(shape) if isinstance(size, str)] for name, shape in shapes.items()}
    some = {"feats": [0, 1], "att_cache": [0, 3], "adapter_down": [0, 3], "adapter_up": [0, 2]}
    assert free == {name: some.get(name, [0]) for name in INPUTS}
    assert [opset.domain for opset in model.opset_import] == [""]


def test_an_export_leaves_no_traces(fresh: Path) -> None:
    """Neither of where it was made, nor of the training's dropout, nor silence in the log."""
    data = (fresh / STEP).read_bytes()
    assert str(ROOT).encode() not in data
    assert b"site-packages" not in data
    assert {node.op_type for node in onnx.load_from_string(data).graph.node}.isdisjoint(
        {"Dropout", "RandomUniformLike"}
    )
    assert logging.root.manager.disable == logging.NOTSET


def test_a_model_is_read_back_to_the_bit(path: Path) -> None:
    spec = read_bundle(path).spec
    model, made = read_step(path / STEP, spec), tiny_model(spec)
    assert model.spec == spec
    assert not model.training
    weights = model.state_dict()
    assert set(weights) == set(made.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in made.state_dict().items())


@pytest.mark.parametrize("name", ["blocks.1.ff2.expand.weight", "blocks.0.attention.bias_u", "head.bias", "istd"])
def test_a_missing_initialiser_is_named(tmp_path: Path, name: str) -> None:
    model = onnx.load(TINY / STEP)
    (initialiser,) = (i for i in model.graph.initializer if i.name == name)
    initialiser.name = "val_0"
    onnx.save(model, str(tmp_path / STEP))
    with pytest.raises(BundleError, match=rf"step\.onnx: has no initialiser {name} \["):
        read_step(tmp_path / STEP, read_bundle(TINY).spec)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blocks": 3}, r"blocks\.2\.ff1\.norm\.weight \[32\]"),
        ({"vocabulary": 40}, r"head\.weight \[32, 40\]"),
        ({"kernel": 9}, r"blocks\.0\.conv\.depthwise\.weight \[32, 1, 9\]"),
    ],
)
def test_an_initialiser_of_another_shape_is_none(change: dict[str, int], says: str) -> None:
    spec = ModelSpec.model_validate(read_bundle(TINY).spec.model_dump() | change)
    with pytest.raises(BundleError, match=f"has no initialiser {says}"):
        read_step(TINY / STEP, spec)
