"""Peers go through the same scorer; the recogniser itself is a package of its own environment."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from myna.bench.manifest import Clip
from myna.bench.peers import Recogniser, load, measure


def test_measures_any_function_from_samples_to_text(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, 8192, np.int16), 16_000)
    waves: list[NDArray[np.float32]] = []

    def transcribe(wave: NDArray[np.float32]) -> str:
        waves.append(wave)
        return "Two, 3."

    clips = [Clip(tmp_path / "a.wav", "two three", "x"), Clip(tmp_path / "a.wav", "two 3", "y")]
    found = measure(clips, transcribe, tmp_path / "heard.jsonl")
    assert (found["wer"], found["corpora"]["y"]["wer"], found["audio_seconds"]) == (0.25, 0.0, 1.0)
    assert waves[0].dtype == np.float32
    assert waves[0][0] == 0.25
    rows = (tmp_path / "heard.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rows[0])["hypothesis"] == "Two, 3."


@pytest.mark.skipif(importlib.util.find_spec("faster_whisper") is not None, reason="faster-whisper is installed here")
@pytest.mark.parametrize("recogniser", list(Recogniser))
def test_says_what_to_install(recogniser: Recogniser) -> None:
    with pytest.raises(SystemExit, match="pip install faster-whisper"):
        load(recogniser, 1)
