"""Batches for training, prepared in the background: functions of seed, epoch and place, so that runs resume exactly."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from myna.adapt.augment import Augmenter
from myna.adapt.decode import RATE_HZ
from myna.adapt.frontend import batch_features
from myna.adapt.recipe import ChunkSettings
from myna.adapt.speech import Speech
from myna.models.spec import ModelSpec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward hears; with two views the second half of the rows is the first, hidden elsewhere."""

    feats: Tensor  # (B, M, mels) float32
    frames: Tensor  # (B,) int64, valid encoder frames
    targets: Tensor  # (B, most) int64, padded
    lengths: Tensor  # (B,) int64
    chunk_frames: int  # 0: whole
    left_chunks: int
    audio_s: float  # heard once

    def to(self, device: torch.device) -> "Batch":
        """Move the tensors."""
        moved = {name: getattr(self, name).to(device) for name in ("feats", "frames", "targets", "lengths")}
        return replace(self, **moved)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the run a batch stands; `position` counts the epoch's batches, of all ranks, up to and with this."""

    epoch: int
    position: int
    count: int  # batches of the epoch


class Feed:
    """Makes batches of speech; `views`: 2 for consistency, else 1."""

    def __init__(
        self, speech: Speech, augmenter: Augmenter, spec: ModelSpec, chunks: ChunkSettings, seed: int, views: int = 1
    ) -> None:
        self._speech, self._augmenter, self._spec = speech, augmenter, spec
        self._chunks, self._seed, self._views = chunks, seed, views

    def batches(self, epoch: int, position: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Place, Batch]]:
        """Yield the batches of one of `world` processes from a place on, without end; all stand at the same place."""
        mine: list[tuple[int, int, list[int]]] = []
        while True:
            dealt = self._speech.batches(epoch, self._seed)
            for at in range(position, len(dealt)):
                mine.append((epoch, at, dealt[at]))
                if len(mine) == world:  # one for each rank, over the epoch's end if need be
                    yield Place(epoch, at + 1, len(dealt)), self._prepared(*mine[rank])
                    mine.clear()
            epoch, position = epoch + 1, 0

    def _prepared(self, epoch: int, position: int, indices: list[int]) -> Batch:
        spec, speech = self._spec, self._speech
        rng = np.random.default_rng([self._seed, epoch, position])
        chunk_frames, left_chunks = draw_chunk(self._chunks, spec, rng)
        waves = [self._augmenter.wave(speech.samples(i), rng) for i in indices]
        feats, counts = batch_features(waves, spec.features)
        feats = F.pad(feats, (0, 0, 0, max(0, spec.window_frames - feats.shape[1])))
        hidden = [self._augmenter.hide(feats, counts, rng) for _ in range(self._views)]
        ids = [torch.tensor(speech.ids(i)) for i in indices] * self._views
        frames = torch.tensor([spec.frames_ready(int(n)) for n in counts])
        return Batch(
            torch.cat(hidden),
            frames.repeat(self._views),
            torch.nn.utils.rnn.pad_sequence(ids, batch_first=True),
            torch.tensor([len(i) for i in ids]),
            chunk_frames,
            left_chunks,
            sum(map(len, waves)) / RATE_HZ,
        )


def draw_chunk(settings: ChunkSettings, spec: ModelSpec, rng: np.random.Generator) -> tuple[int, int]:
    """Draw chunk_frames (0: whole) and left_chunks (-1: all) of a batch."""
    whole, pick, left_pick = rng.random(3)
    if whole < settings.whole_share:
        return 0, -1
    sizes = settings.sizes_frames or spec.chunk_choices_frames
    size = sizes[int(pick * len(sizes))]
    lefts = settings.left_chunks or (spec.left_frames // size,)
    return size, lefts[int(left_pick * len(lefts))]


class _Failure(Generic[T]):
    def __init__(self, error: BaseException) -> None:
        self.error = error


@contextlib.contextmanager
def ahead(items: Iterable[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """Take items in a thread, so many ahead. What it raises is raised here; it ends with the context."""
    ready: queue.Queue[T | _Failure[T] | None] = queue.Queue(depth)
    leaving = threading.Event()

    def put(item: T | _Failure[T] | None) -> None:
        while not leaving.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if leaving.is_set():
                    return
            put(None)
        except BaseException as error:
            put(_Failure(error))

    def taken() -> Iterator[T]:
        while (item := ready.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item

    thread = threading.Thread(target=work, name="feed", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        leaving.set()
        thread.join()
