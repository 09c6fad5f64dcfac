"""ONNX Runtime around the graph; what it computes is held by the laws."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from myna.models.bundle import MANIFEST, STEP, read_bundle
from myna.models.errors import BundleError
from myna.models.runtime import Runtime
from tests.support import TINY, TINY_4


@pytest.mark.parametrize("path", [TINY, TINY_4])
def test_a_step_has_the_shapes_of_the_spec(path: Path) -> None:
    runtime = Runtime(read_bundle(path), threads=2)
    spec, rows, depth = runtime.spec, 2, 5
    feats = np.zeros((rows, spec.features_needed(4), spec.features.mels), np.float32)
    att = np.zeros((rows, spec.blocks, spec.heads, depth, spec.attention_cache_width), np.float32)
    conv = np.zeros((rows, spec.blocks, spec.kernel - 1, spec.width), np.float32)
    step = runtime.step(feats, np.array([4, 3]), np.array([9, 0]), np.array([5, 0]), att, conv)
    assert step.log_probs.shape == (rows, 4, spec.vocabulary)
    assert step.att_new.shape == (rows, spec.blocks, spec.heads, 4, spec.attention_cache_width)
    assert step.conv_new.shape == (rows, spec.blocks, 4, spec.width)
    assert np.allclose(np.exp(step.log_probs).sum(-1), 1, atol=1e-4)


def test_a_graph_that_is_none_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "tiny")
    (folder / STEP).write_bytes(b"no graph")
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["sha256"][STEP]
    with pytest.raises(BundleError, match=r"step\.onnx: ONNX Runtime refuses it"):
        Runtime(read_bundle(folder, verify=False))
