"""The laws on the model that ships, with real and synthetic speech: what a user would notice first."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from myna.bench.manifest import load_samples
from myna.bench.score import compare
from myna.client.cli import CLIP
from myna.models.bundle import DEFAULT, embedded_bundles, open_bundle, read_bundle, resolve_bundle
from myna.server.protocol import Final, Start
from tests.laws.hearing import STOP, Hearing, text_of
from tests.laws.test_sessions import check_stability, cut
from tests.support import SHARED, needs_shared

pytestmark = pytest.mark.skipif(DEFAULT not in embedded_bundles(), reason="this checkout holds no model")
SAID = (
    "i like to speculate upon the glorious future of man",
    "yet behind them there was another and more powerful motive",
    "let us talk it over and find a way out",
)
CHUNKS_MS = (300, 480, 720, 960)


@pytest.fixture(scope="module")
def hearing() -> Hearing:
    return Hearing(read_bundle(resolve_bundle()), threads=2)


@pytest.fixture(scope="module")
def clip() -> NDArray[np.int16]:
    return load_samples(CLIP)


def wrong(truth: str, heard: str) -> float:
    errors = compare(truth, heard)
    return errors.word_errors / errors.words


def test_the_bundle_is_whole_and_small() -> None:
    with open_bundle(resolve_bundle()) as bundle:
        assert bundle.manifest.name == DEFAULT
        assert tuple(frames * bundle.spec.frame_ms for frames in bundle.spec.chunk_choices_frames) == CHUNKS_MS
        assert sum(file.stat().st_size for file in bundle.path.iterdir()) < 95e6


@pytest.mark.parametrize("chunk_ms", CHUNKS_MS)
def test_the_bundled_clip_is_understood_at_every_chunk_size(
    hearing: Hearing, clip: NDArray[np.int16], chunk_ms: int
) -> None:
    said = hearing.hear([clip.tobytes(), STOP], Start(chunk_ms=chunk_ms))
    check_stability(said)
    assert wrong(" ".join(SAID), text_of(said)) <= 0.1
    words = [word for m in said if isinstance(m, Final) for word in m.words or ()]
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(clip) / 16_000


@pytest.mark.parametrize("size", [320, 1234, 9600])
def test_packets_do_not_matter(hearing: Hearing, clip: NDArray[np.int16], size: int) -> None:
    part = clip[: 5 * 16_000].tobytes()
    assert hearing.hear(cut(part, [size])) == hearing.hear([part, STOP])


@pytest.mark.parametrize("chunk_ms", CHUNKS_MS)
def test_the_last_word_is_not_lost_when_the_audio_ends_with_it(
    hearing: Hearing, clip: NDArray[np.int16], chunk_ms: int
) -> None:
    """The audio is cut where the last word ends, as a push-to-talk button would."""
    start = Start(chunk_ms=chunk_ms, partials=False)
    full = [m for m in hearing.hear([clip.tobytes(), STOP], start) if isinstance(m, Final)]
    assert full[-1].words
    end = round((full[-1].words[-1].end + 0.12) * 16_000)
    assert hearing.words(clip[:end].tobytes(), start).endswith("way out")


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng")
@pytest.mark.parametrize("chunk_ms", CHUNKS_MS)
def test_a_synthetic_voice_is_understood(hearing: Hearing, tmp_path: Path, chunk_ms: int) -> None:
    text = "please turn on the light in the kitchen and wake me up tomorrow morning"
    path = tmp_path / "speech.wav"
    subprocess.run(["espeak-ng", "-v", "en-us+f2", "-s", "130", "-w", str(path), text], check=True)
    heard = hearing.words(load_samples(path).tobytes(), Start(chunk_ms=chunk_ms))
    assert wrong(text, heard) <= 0.35  # robots are not what it learnt from


@needs_shared
def test_hard_clips_are_mostly_understood(hearing: Hearing) -> None:
    """Twelve of them, children and learners among them: a bundle that was built wrong would understand nothing."""
    home = SHARED / "golden/wenet-real"
    rows = json.loads((home / "gigaspeech.json").read_text(encoding="utf-8"))
    heard = [hearing.words(load_samples(home / row["audio"]).tobytes()) for row in rows]
    errors = [compare(row["reference"], text) for row, text in zip(rows, heard, strict=True)]
    assert sum(e.word_errors for e in errors) <= 0.25 * sum(e.words for e in errors)
