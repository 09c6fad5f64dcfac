"""The arithmetic of frames and chunks, what it means for samples, and what a spec refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from myna.models.features import filterbank
from myna.models.spec import FeatureSpec, ModelSpec

FIELDS: dict[str, Any] = {
    "subsampling": 6,
    "blocks": 2,
    "heads": 4,
    "width": 32,
    "feed_forward": 48,
    "kernel": 15,
    "vocabulary": 39,
    "chunk_frames": 8,
    "chunk_choices_frames": [5, 8],
    "left_frames": 64,
}


def spec_of(**chosen: object) -> ModelSpec:
    return ModelSpec.model_validate(FIELDS | chosen)


# Frames may lie apart or overlap, but some samples must lie between them.
FEATURES = st.builds(
    FeatureSpec,
    sample_rate_hz=st.sampled_from([8000, 11025, 16000, 44100]),
    frame_length_ms=st.integers(1, 40),
    frame_shift_ms=st.integers(1, 20),
)
SPECS = st.builds(spec_of, subsampling=st.sampled_from([4, 6, 8]), features=FEATURES)
FRAMES = st.integers(1, 10_000)


def features_in(samples: int, features: FeatureSpec) -> int:
    """Count the whole feature frames in so many samples, as Kaldi does without padding."""
    return max(0, (samples - features.frame_length_samples) // features.frame_shift_samples + 1)


@pytest.mark.parametrize(
    ("subsampling", "window", "frame_samples", "first_samples"),
    [(4, 7, 640, 1360), (6, 11, 960, 2000), (8, 15, 1280, 2640)],
)
def test_the_figures_of_each_subsampling(subsampling: int, window: int, frame_samples: int, first_samples: int) -> None:
    spec = spec_of(subsampling=subsampling)
    assert spec.window_frames == spec.features_needed(1) == window
    assert spec.frame_samples == spec.samples_needed(2) - spec.samples_needed(1) == frame_samples
    assert spec.frame_ms == subsampling * 10
    assert spec.samples_needed(1) == first_samples


@given(SPECS, FRAMES, st.integers(0, 100_000))
def test_features_suffice_for_frames_exactly_if_they_are_ready(spec: ModelSpec, frames: int, features: int) -> None:
    assert (spec.features_needed(frames) <= features) == (frames <= spec.frames_ready(features))


@given(SPECS, FRAMES)
def test_frames_are_ready_with_their_last_feature(spec: ModelSpec, frames: int) -> None:
    needed = spec.features_needed(frames)
    assert spec.frames_ready(needed) == spec.frames_ready(needed + spec.subsampling - 1) == frames
    assert spec.frames_ready(needed - 1) == frames - 1


@given(SPECS, FRAMES)
def test_frames_are_ready_with_their_last_sample(spec: ModelSpec, frames: int) -> None:
    needed = spec.samples_needed(frames)
    last = needed + spec.frame_samples - 1
    assert [spec.frames_ready(features_in(n, spec.features)) for n in (needed, last)] == [frames, frames]
    assert spec.frames_ready(features_in(needed - 1, spec.features)) == frames - 1
    assert spec.frames_ready(features_in(last + 1, spec.features)) == frames + 1


@given(SPECS, st.integers(0, 1000), FRAMES)
def test_a_chunk_needs_the_same_wherever_it_lies(spec: ModelSpec, before: int, frames: int) -> None:
    """So a stream may drop `subsampling` features for each frame it has heard."""
    assert spec.features_needed(before + frames) == before * spec.subsampling + spec.features_needed(frames)
    assert spec.samples_needed(before + frames) == before * spec.frame_samples + spec.samples_needed(frames)


@given(SPECS, st.integers(-100, 0))
def test_nothing_is_needed_for_nothing(spec: ModelSpec, frames: int) -> None:
    assert spec.features_needed(frames) == spec.samples_needed(frames) == 0


@given(SPECS, st.data())
def test_less_than_a_window_gives_nothing(spec: ModelSpec, data: st.DataObject) -> None:
    assert spec.frames_ready(data.draw(st.integers(0, spec.window_frames - 1))) == 0


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("subsampling", [4, 6, 8])
def test_the_filterbank_counts_alike(subsampling: int, rate_hz: int) -> None:
    spec = spec_of(subsampling=subsampling, features={"sample_rate_hz": rate_hz, "mels": 23})
    for frames in (1, 2, 9):
        samples = np.zeros(spec.samples_needed(frames), np.int16)
        assert filterbank(spec.features).push(samples).shape == (spec.features_needed(frames), 23)
        assert len(filterbank(spec.features).push(samples[1:])) == spec.features_needed(frames) - 1


def test_a_cached_key_is_a_key_a_value_and_a_score() -> None:
    assert spec_of(width=48, heads=4).head_width == 12
    assert spec_of(width=48, heads=4).attention_cache_width == 25


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("blocks", "heads", "width", "feed_forward", "kernel", "chunk_frames", "left_frames")),
        ("subsampling", 5),
        ("subsampling", "6"),
        ("vocabulary", 1),
        ("blocks", 1.5),
        ("chunk_choices_frames", 8),
        ("chunk_choices_frames", ["many"]),
        ("conv_norm", "rms_norm"),
        ("conv_history", "silence"),
        ("positions", "rel_pos"),
        ("features", {"flavour": "nemo"}),
        ("features", {"hop_ms": 10}),
        ("features", {"flavour": "spectrogram"}),
        ("hidden", 3),
    ],
)
def test_wrong_fields_are_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(**{name: value})
    assert [error["loc"][0] for error in refused.value.errors()] == [name]


def test_a_spectrogram_has_as_many_numbers_as_bins() -> None:
    assert FeatureSpec(flavour="spectrogram", mels=257).fft_samples == 512
    with pytest.raises(ValidationError, match="mels: a spectrogram of 400 samples has 257 numbers a frame"):
        FeatureSpec(flavour="spectrogram", mels=80)


@pytest.mark.parametrize("name", FIELDS)
def test_sizes_have_no_defaults(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ModelSpec.model_validate({key: value for key, value in FIELDS.items() if key != name})
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [((name,), "missing")]


@pytest.mark.parametrize("name", ["blocks", "subsampling", "features", "hidden"])
def test_a_spec_does_not_change(name: str) -> None:
    spec = spec_of()
    with pytest.raises(ValidationError):
        setattr(spec, name, getattr(spec, name, 3))
    assert spec == spec_of()


@pytest.mark.parametrize("name", ["mels", "frame_shift_ms"])
def test_nor_do_its_features(name: str) -> None:
    with pytest.raises(ValidationError):
        setattr(spec_of().features, name, 40)


@given(SPECS)
def test_a_spec_is_what_its_json_says(spec: ModelSpec) -> None:
    again = ModelSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert hash(again) == hash(spec)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"heads": 3}, "heads"),
        ({"width": 9, "heads": 1}, "width"),
        ({"blank_id": 39}, "blank_id"),
        ({"blank_id": -1}, "blank_id"),
        ({"chunk_choices_frames": (0, 4)}, "chunk_choices_frames"),
        ({"chunk_choices_frames": ()}, "chunk_choices_frames"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        spec_of(**changed)
