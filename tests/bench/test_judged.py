"""What was right in each final of a clip, and what it left out."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from myna.bench.judged import judge
from myna.bench.manifest import Clip
from myna.bench.score import compare
from myna.server.protocol import Final, Latency, Word

LATENCY = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)


def final(text: str, confidence: float = 0.8) -> Final:
    words = tuple(Word(word=w, start=0, end=1, confidence=0.1 * i) for i, w in enumerate(text.split()))
    return Final(utterance="0", text=text, words=words, confidence=confidence, start=0, end=1, latency=LATENCY)


def clip(text: str, speaker: str = "anna") -> Clip:
    return Clip(Path("somewhere/a.wav"), text, speaker=speaker)


def test_words_are_right_wrong_too_many_or_left_out() -> None:
    (one,) = judge(clip("The cat sat on a mat."), [final("the cat sad on the the mat")])
    assert one.right == (True, True, False, True, False, False, True)
    assert (one.said, one.missing, one.compared, one.errors) == (6, 0, 7, 3)
    (one,) = judge(clip("the cat sat"), [final("cat")])
    assert (one.right, one.said, one.missing, one.errors) == ((True,), 3, 2, 2)
    assert (one.confidence, one.words, one.speaker) == (0.8, (0.0,), "anna")


def test_each_final_has_its_part_of_the_text() -> None:
    first, second = judge(clip("one two three four five", ""), [final("one too", 0.5), final("four five", 0.9)])
    assert (first.right, first.said, first.missing) == ((True, False), 2, 0)
    assert (second.right, second.said, second.missing) == ((True, True), 3, 1)
    assert second.confidence == 0.9
    assert first.speaker == "a.wav"


def test_a_word_that_is_two_for_the_scorer() -> None:
    (one,) = judge(clip("a gray haired man"), [final("a gray-haired man")])
    assert (one.right, one.words) == ((True,) * 4, (0.0, 0.1, 0.1, 0.2))


def test_without_words_there_is_nothing_to_judge() -> None:
    assert judge(clip("hello"), []) == []
    assert judge(clip("hello"), [final("-")]) == []


texts = st.lists(st.sampled_from("abcd"), min_size=1, max_size=8).map(" ".join)


@given(texts, st.lists(texts, min_size=1, max_size=4))
def test_nothing_is_counted_twice_or_lost(text: str, said: list[str]) -> None:
    judged = judge(clip(text), [final(part) for part in said])
    errors = compare(text, " ".join(said))
    assert sum(u.said for u in judged) == errors.words
    assert sum(u.errors for u in judged) == errors.word_errors
    assert [len(u.right) for u in judged] == [len(part.split()) for part in said]
