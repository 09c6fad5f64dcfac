"""What is sent again after a lost connection, and how its answers are moved."""

import pytest

from myna.client.recall import KEPT_S, Frame, Recall
from myna.server.protocol import (
    AudioFormat,
    Done,
    Error,
    Final,
    Finalize,
    Finalized,
    Latency,
    Partial,
    SpeechEnded,
    SpeechStarted,
    Stop,
    Word,
)

SECOND = bytes(32_000)
LATENCY = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)


def final(utterance: str, start: float, end: float) -> Final:
    word = Word(word="w", start=start, end=end, confidence=1.0)
    return Final(utterance=utterance, text="w", words=(word,), confidence=1, start=start, end=end, latency=LATENCY)


def ended(utterance: str, time: float) -> SpeechEnded:
    return SpeechEnded(utterance=utterance, time=time, reason="silence")


def drain(recall: Recall) -> list[object]:
    sent: list[object] = []
    while (frame := recall.next()) is not None:
        sent.append(frame)
        recall.sent()
    return sent


def audio_of(frames: list[object]) -> bytes:
    return b"".join(frame for frame in frames if isinstance(frame, bytes))


def test_everything_unanswered_is_sent_again() -> None:
    recall = Recall(AudioFormat())
    for _ in range(3):
        recall.add(SECOND)
    recall.add(Stop())
    first = drain(recall)
    recall.rewind()
    assert drain(recall) == first == [SECOND] * 3 + [Stop()]


def test_what_a_final_answers_is_forgotten_to_the_sample() -> None:
    recall = Recall(AudioFormat())
    stream = bytes(i % 251 for i in range(5 * 32_000))
    for i in range(5):
        recall.add(stream[32_000 * i : 32_000 * (i + 1)])
    drain(recall)
    recall.place(ended("0", 2.25))
    recall.place(final("0", 0.5, 2.0))
    recall.rewind()
    assert audio_of(drain(recall)) == stream[72_000:]


def test_answers_of_the_next_connection_stand_where_the_stream_does() -> None:
    recall = Recall(AudioFormat())
    for _ in range(4):
        recall.add(SECOND)
    drain(recall)
    before = Partial(utterance="1", text="w", stable_chars=0, start=3.0, end=3.5)
    recall.place(ended("0", 2.5))
    recall.place(final("0", 0.5, 2.0))
    assert recall.place(before) == before
    recall.rewind()
    drain(recall)
    assert recall.place(SpeechStarted(utterance="0", time=0.25)) == SpeechStarted(utterance="1", time=2.75)
    moved = recall.place(final("0", 0.5, 1.25))
    assert (moved.utterance, moved.start, moved.end) == ("1", 3.0, 3.75)
    assert moved.words is not None
    assert (moved.words[0].start, moved.words[0].end) == (3.0, 3.75)
    assert recall.place(Done(audio_seconds=1.5, utterances=1)) == Done(audio_seconds=4.0, utterances=2)


def test_messages_without_times_pass() -> None:
    recall = Recall(AudioFormat())
    message = Error(code="not_supported", message="m", fatal=False)
    assert recall.place(message) == message


def test_an_answered_finalize_is_not_sent_again() -> None:
    recall = Recall(AudioFormat())
    frames: list[Frame] = [SECOND, Finalize(id="a"), SECOND, Finalize(id="b"), SECOND]
    for frame in frames:
        recall.add(frame)
    drain(recall)
    recall.place(Finalized(id="a"))
    recall.rewind()
    assert drain(recall) == frames[2:]


def test_what_was_not_sent_yet_is_never_forgotten() -> None:
    recall = Recall(AudioFormat())
    recall.add(SECOND)
    recall.place(ended("0", 9.0))
    recall.place(final("0", 0.0, 1.0))
    assert drain(recall) == [SECOND]


def test_memory_is_bounded() -> None:
    recall = Recall(AudioFormat())
    for _ in range(round(KEPT_S) + 100):
        recall.add(SECOND)
        drain(recall)
    recall.rewind()
    assert len(drain(recall)) == pytest.approx(KEPT_S, abs=1)


@pytest.mark.parametrize(
    ("audio", "bytes_per_s", "repeatable"),
    [
        (AudioFormat(encoding="pcm_f32le", sample_rate=48_000, channels=2), 384_000, True),
        (AudioFormat(encoding="mulaw", sample_rate=8_000), 8_000, True),
        (AudioFormat(encoding="ogg_opus"), 1, False),
    ],
)
def test_time_is_counted_in_the_stream_s_encoding(audio: AudioFormat, bytes_per_s: int, repeatable: bool) -> None:
    recall = Recall(audio)
    assert recall.repeatable is repeatable
    if repeatable:
        for _ in range(3):
            recall.add(bytes(bytes_per_s))
        drain(recall)
        recall.place(ended("0", 2.0))
        recall.place(final("0", 0.0, 2.0))
        recall.rewind()
        assert audio_of(drain(recall)) == bytes(bytes_per_s)
