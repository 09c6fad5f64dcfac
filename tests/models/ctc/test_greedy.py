"""Best-path decoding: the collapse rule, and its state across chunks."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.models.ctc.greedy import Greedy

VOCABULARY = 5


def log_probs(best: list[int], sharp: float = 3.0) -> NDArray[np.float32]:
    """Rows whose best ids are `best`."""
    rows = np.zeros((len(best), VOCABULARY), np.float32)
    rows[np.arange(len(best)), best] = sharp
    normal: NDArray[np.float32] = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    return normal


def collapse(best: list[int]) -> list[int]:
    return [key for key, _ in itertools.groupby(best) if key]


ids = st.lists(st.integers(0, VOCABULARY - 1), max_size=40)


@given(ids, st.lists(st.integers(0, 40)))
def test_chunks_give_what_the_whole_gives(best: list[int], cuts: list[int]) -> None:
    whole, parts = Greedy(0), Greedy(0)
    whole.advance(log_probs(best))
    edges = [0, *sorted(min(c, len(best)) for c in cuts), len(best)]
    for a, b in itertools.pairwise(edges):
        parts.advance(log_probs(best[a:b]))
    assert parts.tokens == whole.tokens
    assert [t.id for t in whole.tokens] == collapse(best)


@given(ids, ids)
def test_peek_tells_the_future_and_changes_nothing(past: list[int], future: list[int]) -> None:
    decoder = Greedy(0)
    decoder.advance(log_probs(past))
    before = list(decoder.tokens)
    seen = decoder.peek(log_probs(future))
    assert decoder.tokens == before
    decoder.advance(log_probs(future))
    assert decoder.tokens == seen


def test_frames_and_confidence_of_a_run_that_crosses_chunks() -> None:
    decoder = Greedy(0)
    decoder.advance(log_probs([0, 2, 2], sharp=1.0))
    decoder.advance(log_probs([2, 0, 0, 3], sharp=4.0))
    first, second = decoder.tokens
    assert (first.start_frame, first.end_frame) == (1, 4)
    assert first.log_prob == log_probs([2], sharp=4.0).max()
    assert (second.start_frame, second.end_frame) == (6, 7)


def test_a_token_taken_does_not_come_back_with_the_rest_of_its_run() -> None:
    decoder = Greedy(0)
    decoder.advance(log_probs([1, 2, 2]))
    assert [t.id for t in decoder.take(2)] == [1, 2]
    decoder.advance(log_probs([2, 2, 0, 2]))
    assert [t.id for t in decoder.tokens] == [2]
    assert decoder.tokens[0].start_frame == 6


def test_quiet_frames_count_from_the_last_token() -> None:
    decoder = Greedy(0)
    decoder.advance(log_probs([0, 0]))
    assert decoder.quiet_frames == 2
    decoder.advance(log_probs([1, 0, 0, 0]))
    assert decoder.quiet_frames == 3
