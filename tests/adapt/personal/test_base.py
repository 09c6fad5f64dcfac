"""The model that speakers are learnt upon: what the bundle's graph serves, and nothing of it moves."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.personal.base import read_base  # noqa: E402
from myna.models.bundle import STEP, read_bundle, write_manifest  # noqa: E402
from myna.models.errors import BundleError  # noqa: E402
from myna.models.generic import GENERIC, Clip, generic_bytes  # noqa: E402
from myna.models.runtime import Runtime  # noqa: E402
from tests.data.make_tiny_bundle import tiny_model  # noqa: E402
from tests.models.streams import speech_like, stream, whole  # noqa: E402
from tests.server.speech import voice  # noqa: E402
from tests.support import TINY  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def bundle_with(folder: Path, content: bytes) -> Path:
    """Make the tiny bundle there, with a generic set."""
    import hashlib

    shutil.copytree(TINY, folder)
    (folder / GENERIC).write_bytes(content)
    manifest = read_bundle(TINY).manifest
    hashes = manifest.sha256 | {GENERIC: hashlib.sha256(content).hexdigest()}
    write_manifest(folder, manifest.model_copy(update={"sha256": hashes}))
    return folder


def test_it_is_what_is_served() -> None:
    bundle = read_bundle(TINY)
    base = read_base(bundle)
    assert (base.name, base.graph) == ("tiny 1", bundle.manifest.sha256[STEP])
    assert base.spec == bundle.spec
    assert base.generic == ()
    assert base.tokens.units == bundle.tokens.units
    feats = speech_like(base.spec, 40, seed=3)
    served = stream(Runtime(bundle), feats, *(base.spec.chunk_frames, base.spec.left_frames))
    assert np.abs(whole(base.model, feats, *base.heard_as_served) - served).max() < 1e-4


def test_nothing_of_it_moves() -> None:
    model = read_base(read_bundle(TINY)).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_it_is_heard_in_the_default_chunks_with_their_left_context() -> None:
    base = read_base(read_bundle(TINY))
    assert base.heard_as_served == (8, 8)
    for chunk, left, expected in ((16, 64, (16, 4)), (8, 4, (8, 1)), (5, 64, (5, 12))):
        spec = base.spec.model_copy(update={"chunk_frames": chunk, "left_frames": left})
        assert replace(base, model=tiny_model(spec)).heard_as_served == expected


def test_its_generic_set_comes_along(tmp_path: Path) -> None:
    clips = [Clip(voice(0.6, seed=seed), text) for seed, text in enumerate(("ba di", "ga mu"))]
    base = read_base(read_bundle(bundle_with(tmp_path / "tiny", generic_bytes(clips))))
    assert [clip.text for clip in base.generic] == ["ba di", "ga mu"]
    assert [clip.samples.dtype for clip in base.generic] == [np.int16] * 2
    assert all(abs(len(clip.samples) / 16_000 - 0.6) < 0.05 for clip in base.generic)


def test_a_damaged_generic_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is damaged"):
        read_base(read_bundle(bundle_with(tmp_path / "tiny", b"no set")))
