"""Speech: what is left out and why; batches partition it, keep their bound, and hang on epoch and seed alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.data import Utterance, read_source
from myna.adapt.settings import DataSettings, Source
from myna.adapt.speech import PEAK, Speech
from myna.models.bundle import embedded_bundles, read_bundle, resolve_bundle
from tests.adapt.made import LETTERS, spec, utterances, write
from tests.support import SHARED, needs_shared

LENGTHS_S = (0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 0.5, 0.4, 0.9, 3.0)


def settings_of(**fields: Any) -> DataSettings:
    return DataSettings.model_validate({"train": [{"kind": "manifest", "path": "none"}]} | fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def made(folder: Path) -> list[Utterance]:
    return utterances(folder, *LENGTHS_S)


def speech(folder: Path, made: list[Utterance], **fields: Any) -> Speech:
    return Speech(made, LETTERS, spec(), settings_of(**fields), folder / "cache")


def test_holds_samples_ids_and_utterances(folder: Path, made: list[Utterance]) -> None:
    held = speech(folder, made)
    assert len(held) == len(made)
    assert held.dropped == {}
    assert held.seconds == pytest.approx(sum(LENGTHS_S))
    for i, utterance in enumerate(made):
        assert held.utterance(i) == utterance
        assert held.ids(i) == (1 + i % 10,)
        samples = held.samples(i)
        assert samples.dtype == np.int16
        np.testing.assert_array_equal(samples, soundfile.read(utterance.audio, dtype="int16")[0])


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "short.wav", 0.2)
    write(tmp_path / "good.wav", 1.0)
    write(tmp_path / "long.wav", 3.0)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    cases = {
        "short": ("short", "a"),
        "long": ("long", "a"),
        "no_text": ("good", ""),
        "unspellable": ("good", "a7"),
        "unalignable": ("good", "abcdefghijabcdefghij"),
        "unreadable": ("bad", "a"),
    }
    made = [Utterance(tmp_path / f"{name}.wav", text, "", "") for name, text in cases.values()]
    made += [Utterance(tmp_path / "absent.wav", "a", "", ""), Utterance(tmp_path / "good.wav", "ab", "", "")]
    held = speech(tmp_path, made, max_s=2.5)
    assert held.dropped == dict.fromkeys(cases, 1) | {"unreadable": 2}
    assert [held.utterance(i).text for i in range(len(held))] == ["ab"]


def test_a_repeated_token_needs_a_frame_more(tmp_path: Path) -> None:
    """A second has 98 feature frames, so 15 frames of 60 ms."""
    write(tmp_path / "a.wav", 1.0)

    def kept(text: str) -> int:
        return len(speech(tmp_path, [Utterance(tmp_path / "a.wav", text, "", "")]))

    assert kept("abcdefghijabcde") == 1
    assert kept("abcdefghijabcdd") == 0
    assert kept("abcdefghijabdd") == 1


def test_too_long_may_be_truncated(tmp_path: Path) -> None:
    samples = write(tmp_path / "a.wav", 2.0)
    held = speech(tmp_path, [Utterance(tmp_path / "a.wav", "a", "", "")], max_s=1.5, too_long="truncate")
    np.testing.assert_array_equal(held.samples(0), samples[:24_000])


def test_peaks_may_be_brought_to_one_level(tmp_path: Path) -> None:
    for name, level in (("loud", 1.0), ("soft", 0.05), ("none", 0.0)):
        soundfile.write(tmp_path / f"{name}.wav", level * np.sin(np.arange(8000)), 16_000)
    made = [Utterance(tmp_path / f"{name}.wav", "a", "", "") for name in ("loud", "soft", "none")]
    held = speech(tmp_path, made, normalise=True)
    assert [int(np.abs(held.samples(i).astype(int)).max()) for i in range(3)] == [PEAK, PEAK, 0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.integers(0, 2**32 - 1), st.floats(0.1, 12), st.floats(0, 1), st.sampled_from([0.0, 0.25]))
def test_batches_partition_the_speech_within_their_bound(
    folder: Path, made: list[Utterance], epoch: int, seed: int, batch_s: float, mix: float, quiet_s: float
) -> None:
    held = speech(folder, made, batch_s=batch_s, mix_lengths=mix, quiet_s=(0, quiet_s))
    batches = held.batches(epoch, seed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(held)))
    for batch in batches:
        longest_s = max(len(held.samples(i)) for i in batch) / 16_000 + 2 * quiet_s
        assert len(batch) == 1 or len(batch) * longest_s <= batch_s
    assert speech(folder, made, batch_s=batch_s, mix_lengths=mix, quiet_s=(0, quiet_s)).batches(epoch, seed) == batches


def test_epochs_and_seeds_differ(folder: Path, made: list[Utterance]) -> None:
    held = speech(folder, made, batch_s=3, mix_lengths=0.3)
    assert held.batches(0, 0) != held.batches(1, 0) != held.batches(1, 1)


def test_like_is_put_to_like_unless_mixed(folder: Path, made: list[Utterance]) -> None:
    def padded(mix: float) -> float:
        held = speech(folder, made, batch_s=3, mix_lengths=mix)
        return sum(len(b) * max(LENGTHS_S[i] for i in b) for e in range(20) for b in held.batches(e, 0)) / 20

    assert padded(0) < padded(0.3) < padded(1)
    assert padded(0) < 1.2 * sum(LENGTHS_S)


def test_weights_repeat(folder: Path) -> None:
    made = [
        Utterance(folder / "0.wav", "a", "", "", weight)
        for weight in (1.0, 3.0, 2.5, 0.25)
        if write(folder / "0.wav", 0.5).any()
    ]
    held = speech(folder, made, batch_s=2)
    drawn = Counter(i for epoch in range(400) for batch in held.batches(epoch, 3) for i in batch)
    assert (drawn[0], drawn[1]) == (400, 1200)
    assert drawn[2] == pytest.approx(1000, abs=40)
    assert drawn[3] == pytest.approx(100, abs=40)


def test_nothing_left_is_no_batch(folder: Path) -> None:
    held = speech(folder, [Utterance(folder / "absent.wav", "a", "", "")])
    assert (len(held), held.seconds, held.batches(0, 0)) == (0, 0, [])


def test_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = utterances(tmp_path, 0.5, 0.6)
    Speech(made, LETTERS, spec(), settings_of(), tmp_path / "cache", progress=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "decoded 2 of 2 files\n")


@needs_shared
@pytest.mark.skipif("english" not in embedded_bundles(), reason="the default model is not built")
def test_real_speech_of_every_corpus(tmp_path: Path) -> None:
    bundle = read_bundle(resolve_bundle("english"), verify=False)
    some = read_source(Source(kind="manifest", path=SHARED / "data/dev.jsonl"))[::40]
    held = Speech(some, bundle.tokens, bundle.spec, settings_of(), tmp_path)
    assert len(held) + sum(held.dropped.values()) == len(some)
    assert len(held) > 0.9 * len(some)
    for i in range(len(held)):
        assert bundle.tokens.text(held.ids(i)) == held.utterance(i).text
