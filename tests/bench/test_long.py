"""Long streams: how clips are joined, and the report."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from myna.bench.long import audio_of, joined, measure, text_of
from myna.bench.manifest import Clip
from tests.server.speech import voice
from tests.support import TINY


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", voice(1.5, seed=i), 16_000)
    return [Clip(tmp_path / f"{i}.wav", f"word{i}") for i in range(5)]


def test_joins_clips_in_their_order(clips: list[Clip]) -> None:
    streams = list(joined(clips, 3.0))
    assert streams == [tuple(clips[:2]), tuple(clips[2:4])]
    assert text_of(streams[1]) == "word2 word3"
    assert np.array_equal(audio_of(streams[0])[24_000:], voice(1.5, seed=1))


def test_reports_both(clips: list[Clip]) -> None:
    found = measure(clips, str(TINY), minutes=0.1, chunk_ms=None, threads=1, progress=False)
    assert found["long"]["utterances"] == found["unbroken"]["utterances"] == 1
    assert found["single"]["utterances"] == 4
    for name, lost in found["lost"].items():
        assert lost == pytest.approx(found[name]["wer"] - found["single"]["wer"], abs=1e-4)
