"""Subtitles: what both formats look like, and where cues break."""

import itertools

import pytest

from myna.client.subtitles import CUE_CHARACTERS, CUE_S, LINE_CHARACTERS, cues, srt, vtt
from myna.server.protocol import Final, Latency, Word

LATENCY = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)


def final(text: str, start: float = 1.0, word_s: float = 0.4, times: bool = True) -> Final:
    words = tuple(
        Word(word=word, start=start + i * word_s, end=start + (i + 0.9) * word_s, confidence=1.0)
        for i, word in enumerate(text.split())
    )
    end = words[-1].end if words else start
    return Final(
        utterance="0", text=text, words=words if times else None, confidence=1, start=start, end=end, latency=LATENCY
    )


def test_srt() -> None:
    assert srt([final("hello there"), final("bye", start=3725.5)]) == (
        "1\n00:00:01,000 --> 00:00:01,760\nhello there\n\n2\n01:02:05,500 --> 01:02:05,860\nbye\n"
    )


def test_vtt() -> None:
    assert vtt([final("hello there")]) == "WEBVTT\n\n00:00:01.000 --> 00:00:01.760\nhello there\n"
    assert vtt([]) == "WEBVTT\n"


def test_cues_are_short_and_hold_every_word_in_order() -> None:
    text = " ".join(f"word{i}" for i in range(80))
    found = list(cues([final(text)]))
    assert " ".join(cue.text.replace("\n", " ") for cue in found) == text
    for cue in found:
        assert cue.end - cue.start <= CUE_S
        assert len(cue.text) <= CUE_CHARACTERS
        assert max(map(len, cue.text.split("\n"))) <= LINE_CHARACTERS + 6
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))


def test_a_pause_begins_a_cue() -> None:
    words = (
        Word(word="one", start=0, end=0.5, confidence=1),
        Word(word="two", start=2.0, end=2.5, confidence=1),
    )
    said = Final(utterance="0", text="one two", words=words, confidence=1, start=0, end=2.5, latency=LATENCY)
    assert [cue.text for cue in cues([said])] == ["one", "two"]


def test_without_word_times_a_final_is_one_cue() -> None:
    assert [cue.text for cue in cues([final("a b", times=False), final("", times=False), final("")])] == ["a b"]


@pytest.mark.parametrize("text", ["x" * 100, "a " * 30])
def test_long_text_breaks_in_two_where_it_can(text: str) -> None:
    (cue,) = cues([final(text.strip(), word_s=0.01)])
    assert cue.text.count("\n") == (1 if " " in text else 0)
