"""Voices that read aloud: many of one, any mixture of a folder of styles, the same by the same chance."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("hibari", reason="needs hibari-tts")

from myna.adapt.data import DataError
from myna.adapt.voices import Hibari, Kokoro

RATE_HZ = 16_000


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def hibari() -> Hibari:
    return Hibari()


def test_hibari_speaks_in_many_voices(hibari: Hibari) -> None:
    said = [hibari.say("Turn the kitchen light on.", rng(seed))[0] for seed in range(6)]
    assert all(wave.dtype == np.float32 and 0.8 < len(wave) / RATE_HZ < 4 for wave in said)
    assert all(np.sqrt(np.mean(wave**2)) > 0.01 and np.abs(wave).max() <= 1 for wave in said)
    assert len({len(wave) for wave in said}) > 3
    again, speaker = hibari.say("Turn the kitchen light on.", rng(0))
    assert speaker == "hibari"
    np.testing.assert_array_equal(again, said[0])


def test_what_has_no_sound_is_refused(hibari: Hibari) -> None:
    with pytest.raises(ValueError, match="0 phonemes"):
        hibari.say("", rng(0))


def model(path: Path) -> Path:
    """Write a model of Kokoro's inputs that answers with the style's numbers and the speed, a second of each."""
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "L"]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    nodes = [
        helper.make_node("Gather", ["style", "ends"], ["two"], axis=1),
        helper.make_node("Reshape", ["two", "flat"], ["pair"]),
        helper.make_node("Concat", ["pair", "speed"], ["three"], axis=0),
        helper.make_node("Unsqueeze", ["three", "one"], ["column"]),
        helper.make_node("Tile", ["column", "times"], ["rows"]),
        helper.make_node("Reshape", ["rows", "flat"], ["wave"]),
    ]
    constants = {"ends": [0, 255], "flat": [-1], "one": [1], "times": [1, 24_000]}
    kept = [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in constants.items()]
    out = [helper.make_tensor_value_info("wave", TensorProto.FLOAT, ["n"])]
    made = helper.make_model(
        helper.make_graph(nodes, "voice", inputs, out, kept), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.save(made, str(path))
    return path


def test_kokoro_mixes_styles(tmp_path: Path) -> None:
    for name, level in (("a", 0.1), ("b", 0.5)):
        np.full((510, 1, 256), level, np.float32).tofile(tmp_path / f"{name}.bin")
    kokoro = Kokoro(model(tmp_path / "kokoro.onnx"), tmp_path)
    heard: set[str] = set()
    for seed in range(20):
        wave, speaker = kokoro.say("Good morning.", rng(seed))
        timbre, prosody = wave[RATE_HZ // 2], wave[3 * RATE_HZ // 2]
        heard.add(speaker)
        own = {"kokoro a a": 0.1, "kokoro b b": 0.5}
        if speaker in own:
            assert (timbre, prosody) == pytest.approx((own[speaker], own[speaker]), abs=0.01)
        else:
            assert 0.2 < timbre < 0.4
            assert 0.2 < prosody < 0.4
            assert timbre != pytest.approx(prosody, abs=1e-4)
    assert heard == {"kokoro a a", "kokoro b b", "kokoro a b", "kokoro b a"}


def test_a_folder_without_styles_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no styles"):
        Kokoro(model(tmp_path / "kokoro.onnx"), tmp_path)
