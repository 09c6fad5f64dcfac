"""What a stream saw: which weights were used when, and what that says of changes."""

import pytest

from myna.bench.witness import Change, Stretch, Used, Witness, notice_ms, report, stale_ms
from myna.server.protocol import Adaptation, AdapterName, Final, Latency, Partial, SpeechEnded, SpeechStarted

CHANGES = [Change(10.0, "b"), Change(14.0, "a"), Change(18.0, "c"), Change(18.5, "a")]  # it began with "a"


def final(version: str | None, text: str = "x y") -> Final:
    name = AdapterName(speaker="anna", version=version) if version else None
    latency = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)
    return Final(utterance="0", text=text, confidence=1, start=0, end=2, latency=latency, adapter=name)


def test_a_notice_counts_from_the_change_it_speaks_of() -> None:
    notices = [Change(12.0, "b"), Change(14.25, "a"), Change(20.0, "a"), Change(21.0, "never made")]
    assert notice_ms(CHANGES, notices) == [2_000, 250, 1_500]
    assert notice_ms(CHANGES, [Change(9.0, "b")]) == []  # before it was made


def test_stale_are_those_that_began_with_what_had_been_replaced() -> None:
    fresh = [Used(9.0, "a"), Used(10.5, "b"), Used(14.0, "a"), Used(19.0, "a")]
    assert stale_ms(CHANGES, fresh) == []
    assert stale_ms(CHANGES, [Used(10.25, "a"), Used(14.5, "b"), Used(18.75, "c"), Used(18.75, "b")]) == [
        250,  # still the first
        500,
        250,
        4_750,  # replaced three times meanwhile
    ]
    assert stale_ms([], [Used(1.0, None)]) == []


def test_a_stream_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("myna.bench.witness.time.perf_counter", lambda: now_s)
    witness = Witness(began_s=90.0)
    witness.show(Adaptation(speaker="anna", event="swapped", version="b"))
    witness.show(SpeechStarted(utterance="0", time=9.5))
    now_s = 103.0
    witness.show(Partial(utterance="0", text="x", stable_chars=1, start=10.0, end=12.75))
    witness.show(SpeechEnded(utterance="0", time=12.875, reason="silence"))
    witness.show(final("b"))
    witness.show(Adaptation(speaker="anna", event="refused", report="why"))
    assert witness.notices == [Change(100.0, "b")]
    assert witness.used == [Used(100.0, "b")]
    assert (witness.captions, witness.finals) == ([(103.0, 250.0)], [(103.0, 125.0)])
    assert (witness.words, witness.refused) == (2, ["why"])


def test_the_report_tells_stretches_apart() -> None:
    anna = Witness(captions=[(1.0, 100.0), (3.0, 500.0)], finals=[(3.5, 50.0)], due_finals=2, due_words=3, words=2)
    anna.notices, anna.used = [Change(12.0, "b")], [Used(12.0, "b"), Used(14.5, "b")]
    ben = Witness(captions=[(3.0, 300.0), (9.0, 9_000.0)])
    stretches = [Stretch("quiet", 0.0, 2.0, 0.5), Stretch("swapping", 2.0, 4.0, 1.0)]
    found = report([CHANGES[:2], []], [anna, ben], stretches, chunk_ms=480)
    assert found["swaps"] == {"made": 2, "seen": 1, "overtaken": 1, "refused": 0}
    assert found["notice_ms"]["max"] == 2_000
    assert found["stale"] == {"utterances": 1, "ms": {"p50": 500, "p95": 500, "p99": 500, "max": 500}}
    quiet, swapping = found["quiet"], found["swapping"]
    assert (quiet["captions"], quiet["late"], quiet["cores_used"], quiet["finals"]) == (1, 0, 0.25, 0)
    assert (swapping["captions"], swapping["late"], swapping["cores_used"], swapping["finals"]) == (2, 1, 0.5, 1)
    assert swapping["caption_ms"]["max"] == 500
    assert (found["finals"], found["words"]) == ({"expected": 2, "heard": 1}, {"expected": 3, "heard": 2})
