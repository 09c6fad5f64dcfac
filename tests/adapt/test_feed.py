"""Batches: the same from any place on, shared out among processes, made ahead."""

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.augment import Augmenter  # noqa: E402
from myna.adapt.feed import Batch, Feed, Place, ahead, draw_chunk  # noqa: E402
from myna.adapt.recipe import ChunkSettings  # noqa: E402
from myna.adapt.settings import AugmentSettings, DataSettings, Source  # noqa: E402
from myna.adapt.speech import Speech  # noqa: E402
from tests.adapt.made import LETTERS, spec, utterances  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    folder = tmp_path_factory.mktemp("speech")
    settings = DataSettings(train=[Source(kind="manifest", path=Path("x"))], batch_s=2.5)
    return Speech(utterances(folder, 1.0, 1.1, 0.9, 1.0, 1.2), LETTERS, spec(), settings, folder / "cache")


def feed(speech: Speech, views: int = 1) -> Feed:
    return Feed(speech, Augmenter(AugmentSettings(), speech), spec(), ChunkSettings(), 3, views)


def equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("feats", "frames", "targets", "lengths")) and (
        (a.chunk_frames, a.left_chunks) == (b.chunk_frames, b.left_chunks)
    )


def test_batches_are_the_same_from_any_place_on(speech: Speech) -> None:
    whole = list(islice(feed(speech).batches(0, 0), 9))
    assert {place.epoch for place, _ in whole} >= {0, 1, 2}
    for start in range(8):
        place, _ = whole[start]
        again, batch = next(feed(speech).batches(place.epoch, place.position))
        assert again == whole[start + 1][0]
        assert equal(batch, whole[start + 1][1])
    assert whole[0][0] == Place(0, 1, len(speech.batches(0, 3)))


def test_processes_share_the_batches(speech: Speech) -> None:
    alone = [batch for _, batch in islice(feed(speech).batches(0, 0), 8)]
    dealt = [list(islice(feed(speech).batches(0, 0, rank, 2), 4)) for rank in range(2)]
    assert all(equal(dealt[i % 2][i // 2][1], alone[i]) for i in range(8))
    assert [place for place, _ in dealt[0]] == [place for place, _ in dealt[1]]


def test_two_views_are_hidden_elsewhere(speech: Speech) -> None:
    _, batch = next(feed(speech, 2).batches(0, 0))
    one, other = batch.feats.chunk(2)
    assert not torch.equal(one, other)
    assert (one == other).float().mean() > 0.5
    assert torch.equal(*batch.frames.chunk(2))
    assert torch.equal(*batch.targets.chunk(2))


def test_chunks_are_drawn_as_they_are_served() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_chunk(ChunkSettings(whole_share=0.25), spec(), rng) for _ in range(400)]
    assert set(drawn) == {(0, -1), *((size, 64 // size) for size in spec().chunk_choices_frames)}
    assert 60 < drawn.count((0, -1)) < 140
    chosen = ChunkSettings(whole_share=0, sizes_frames=(4,), left_chunks=(-1, 2))
    assert {draw_chunk(chosen, spec(), rng) for _ in range(50)} == {(4, -1), (4, 2)}


def test_what_is_made_ahead_comes_in_order_and_stops() -> None:
    made: list[int] = []

    def count() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    before = threading.active_count()
    with ahead(count(), 2) as items:
        assert list(islice(items, 5)) == [0, 1, 2, 3, 4]
        deadline = time.monotonic() + 5
        while len(made) < 7 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert 7 <= len(made) <= 9
    assert threading.active_count() == before
    with ahead(iter(range(3))) as items:
        assert list(items) == [0, 1, 2]


def test_what_fails_ahead_fails_here() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no audio")

    with ahead(broken()) as items, pytest.raises(ValueError, match="no audio"):
        list(items)
