"""Speech to learn from: decoded once, what can't be learnt from left out and counted, batches of like length."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myna.adapt.data import Utterance
from myna.adapt.decode import RATE_HZ, decode_all
from myna.adapt.settings import DataSettings
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable

PEAK = 16_384  # of a normalised utterance: half of full scale


@dataclass(frozen=True, slots=True)
class _Item:
    utterance: Utterance
    wave: NDArray[np.int16]  # (n,), memory-mapped
    ids: tuple[int, ...]


class Speech:
    """Utterances with their samples and token ids; `dropped` counts by reason what was left out.

    Reasons: `unreadable` (or absent), `short`, `long`, `no_text`, `unspellable` (by the tokens), `unalignable` (more
    tokens than CTC has frames for). All samples are at 16 kHz; `cache` is a folder that sets may share.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokens: TokenTable,
        spec: ModelSpec,
        settings: DataSettings,
        cache: Path,
        progress: bool = False,
    ) -> None:
        self.settings = settings
        self.cache = cache
        self._tokens, self._spec = tokens, spec
        counts: Counter[str] = Counter()
        self._items: list[_Item] = []
        waves = decode_all([u.audio for u in utterances], cache, _show if progress else None)
        for utterance, wave in zip(utterances, waves, strict=True):
            kept = self._item(utterance, wave)
            if isinstance(kept, str):
                counts[kept] += 1
            else:
                self._items.append(kept)
        self.dropped: dict[str, int] = dict(sorted(counts.items()))

    def _item(self, utterance: Utterance, wave: NDArray[np.int16] | None) -> "_Item | str":
        """Make an item, or name the reason why not."""
        if wave is None:
            return "unreadable"
        if len(wave) < self.settings.min_s * RATE_HZ:
            return "short"
        if len(wave) > self.settings.max_s * RATE_HZ:
            if self.settings.too_long == "drop":
                return "long"
            wave = wave[: int(self.settings.max_s * RATE_HZ)]
        if not utterance.text:
            return "no_text"
        ids = self._tokens.encode(utterance.text)
        if ids is None:
            return "unspellable"
        if self._frames(len(wave)) < len(ids) + sum(a == b for a, b in pairwise(ids)):
            return "unalignable"
        return _Item(utterance, wave, tuple(ids))

    def _frames(self, samples: int) -> int:
        features = self._spec.features
        return self._spec.frames_ready((samples - features.frame_length_samples) // features.frame_shift_samples + 1)

    def __len__(self) -> int:
        """Count the utterances that are left."""
        return len(self._items)

    def samples(self, index: int) -> NDArray[np.int16]:
        """Return an utterance's samples (n,) int16 at 16 kHz, its peak brought to half of full scale if so set."""
        wave = self._items[index].wave
        peak = int(np.abs(wave.astype(np.int32)).max(initial=0)) if self.settings.normalise else 0
        if not peak:
            return np.array(wave)
        scaled: NDArray[np.int16] = np.rint(wave * np.float32(PEAK / peak)).astype(np.int16)
        return scaled

    def length_samples(self, index: int) -> int:
        """Count an utterance's samples."""
        return len(self._items[index].wave)

    def ids(self, index: int) -> tuple[int, ...]:
        """Return an utterance's token ids."""
        return self._items[index].ids

    def utterance(self, index: int) -> Utterance:
        """Return what the source said of an utterance."""
        return self._items[index].utterance

    @property
    def seconds(self) -> float:
        """Sum up the audio, each utterance once."""
        return sum(len(item.wave) for item in self._items) / RATE_HZ

    def batches(self, epoch: int, seed: int) -> list[list[int]]:
        """Put an epoch's utterances into batches, by index: a function of epoch and seed (both from 0) alone.

        A batch holds at most `batch_s` of audio, with padding and the longest quiet around, or a single utterance.
        """
        rng = np.random.default_rng([seed, epoch])
        lengths = np.array([len(item.wave) for item in self._items], np.int64)
        weights = np.array([item.utterance.weight for item in self._items])
        times = np.floor(weights + rng.random(len(weights))).astype(np.int64)
        drawn = np.repeat(np.arange(len(lengths)), times)
        # Some go where another length belongs. Short words come to many batches that way for less padding than jitter.
        keys = lengths[drawn]
        keys = np.where(rng.random(len(keys)) < self.settings.mix_lengths, rng.permutation(keys), keys)
        order = drawn[np.argsort(keys, kind="stable")]
        groups = _fill(order.tolist(), lengths + self._quiet_samples(), int(self.settings.batch_s * RATE_HZ))
        return [groups[i] for i in rng.permutation(len(groups))]

    def _quiet_samples(self) -> int:
        return int(2 * self.settings.quiet_s[1] * RATE_HZ)


def _fill(order: Sequence[int], lengths: NDArray[np.int64], most_samples: int) -> list[list[int]]:
    """Cut the order into groups whose count times longest stays within the bound."""
    groups: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, int(lengths[index]))
        if not groups or (len(groups[-1]) + 1) * longest > most_samples:
            groups.append([])
            longest = int(lengths[index])
        groups[-1].append(index)
    return groups


def _show(done: int, total: int) -> None:
    print(f"decoded {done} of {total} files", file=sys.stderr, flush=True)  # noqa: T201
