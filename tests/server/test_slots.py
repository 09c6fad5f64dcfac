import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from myna.models.bundle import read_bundle
from myna.server.outputs import DecodeRequest
from myna.server.slots import History, Slots
from tests.support import TINY

SPEC = read_bundle(TINY).spec


def request(frames: int, first: bool = False, left_frames: int = 64, keep: bool = True) -> DecodeRequest:
    feats = np.full((SPEC.features_needed(frames), SPEC.features.mels), frames, np.float32)
    return DecodeRequest(0, feats, frames, first, keep, left_frames)


def made(frames: int, mark: float) -> tuple[np.ndarray, np.ndarray]:
    """What a step gives, two frames of padding included."""
    att = np.full((SPEC.blocks, SPEC.heads, frames + 2, SPEC.attention_cache_width), mark, np.float32)
    return att, np.full((SPEC.blocks, frames + 2, SPEC.width), mark, np.float32)


@given(st.integers(1, 9), st.lists(st.integers(0, 25), max_size=30))
def test_a_history_is_the_end_of_all_that_was_appended(frames: int, sizes: list[int]) -> None:
    history = History(slots=3, lead=(2,), frames=frames, width=4)
    history.clear(1)
    everything = np.zeros((2, frames, 4), np.float32)
    rng = np.random.default_rng(0)
    for size in sizes:
        new = rng.standard_normal((2, size, 4)).astype(np.float32)
        history.append(1, new)
        everything = np.concatenate([everything, new], axis=1)
        assert np.array_equal(history.last(1, frames), everything[:, -frames:])
    assert not history.last(0, frames).any()
    assert not history.last(2, frames).any()


def test_a_batch_is_padded_to_its_longest_row_and_its_deepest_history() -> None:
    slots = Slots(SPEC, slots=4, max_rows=3)
    slots.keep(2, request(8, first=True), *made(8, 5.0))
    batch = slots.gather([0, 2], [request(3, first=True), request(5)])
    assert batch.feats.shape == (2, SPEC.features_needed(5), SPEC.features.mels)
    assert not batch.feats[0, SPEC.features_needed(3) :].any()
    assert batch.frames.tolist() == [3, 5]
    assert batch.offset.tolist() == [0, 8]
    assert batch.cached.tolist() == [0, 8]
    assert batch.att.shape[3] == 8
    assert not batch.att[0].any()
    assert (batch.att[1] == 5).all()
    assert (batch.conv[1, :, -8:] == 5).all()
    assert not batch.conv[1, :, :-8].any()  # zeros: before the utterance
    assert not batch.conv[0].any()


def test_a_first_request_forgets_what_the_slot_held() -> None:
    slots = Slots(SPEC, slots=1, max_rows=1)
    for _ in range(20):
        slots.keep(0, request(8), *made(8, 9.0))
    slots.keep(0, request(2, first=True), *made(2, 1.0))
    batch = slots.gather([0], [request(1)])
    assert batch.cached.tolist() == [2]
    assert (batch.att == 1).all()
    assert batch.conv[0, 0, :, 0].tolist() == [0] * (SPEC.kernel - 3) + [1, 1]


def test_history_is_bounded_by_the_cache_and_by_what_the_request_may_see() -> None:
    slots = Slots(SPEC, slots=1, max_rows=1)
    for i in range(20):
        slots.keep(0, request(8, first=i == 0), *made(8, i))
    assert slots.gather([0], [request(8)]).cached.tolist() == [SPEC.left_frames]
    assert slots.gather([0], [request(8, left_frames=10)]).cached.tolist() == [10]
    assert slots.gather([0], [request(8)]).offset.tolist() == [160]


def test_positions_stay_within_the_model() -> None:
    spec = SPEC.model_copy(update={"max_positions_frames": 50})
    slots = Slots(spec, slots=1, max_rows=1)
    for i in range(20):
        slots.keep(0, request(8, first=i == 0), *made(8, i))
        assert slots.gather([0], [request(8)]).offset[0] + 8 <= 50
