"""Whose turn it is: after enough new speech, or some and long enough; later and later after failures."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.store import Pace, Rounds, Store, StoreError
from tests.adapt.store.test_speech import heard

PACE = Pace(utterances=3, every_s=1_000, retry_s=10)


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path / "data", clock=clock)


@pytest.fixture
def rounds(store: Store) -> Rounds:
    return Rounds(store, PACE)


def speak(store: Store, clock: Clock, count: int, speaker: str = "anna") -> None:
    for _ in range(count):
        clock.now_s += 1
        store.keep(speaker, heard(int(clock.now_s), seconds=0.1))


def learnt(rounds: Rounds, clock: Clock, speaker: str = "anna", error: str | None = None) -> None:
    clock.now_s += 1
    rounds.end(rounds.begin(speaker), error)


def test_due_after_enough_new_utterances(store: Store, rounds: Rounds, clock: Clock) -> None:
    assert rounds.due() == []
    speak(store, clock, 2)
    assert rounds.due() == []
    speak(store, clock, 1)
    assert rounds.due() == ["anna"]
    learnt(rounds, clock)
    assert rounds.due() == []
    speak(store, clock, 2)
    assert rounds.due() == []
    speak(store, clock, 1)
    assert rounds.due() == ["anna"]


def test_due_for_fewer_after_a_while_and_never_for_none(store: Store, rounds: Rounds, clock: Clock) -> None:
    speak(store, clock, 1)
    clock.now_s += PACE.every_s - 1
    assert rounds.due() == []
    clock.now_s += 1
    assert rounds.due() == ["anna"]
    learnt(rounds, clock)
    clock.now_s += 10 * PACE.every_s
    assert rounds.due() == []
    speak(store, clock, 1)
    assert rounds.due() == ["anna"]


def test_corrections_count_as_new(store: Store, rounds: Rounds, clock: Clock) -> None:
    speak(store, clock, 4)
    learnt(rounds, clock)
    clock.now_s += 1
    for number in range(3):
        assert rounds.due() == []
        store.correct("anna", "session", str(1_000_001 + number), "ga mu")
    assert rounds.due() == ["anna"]


def test_what_comes_while_a_round_runs_counts_for_the_next(store: Store, rounds: Rounds, clock: Clock) -> None:
    speak(store, clock, 3)
    clock.now_s += 1
    number = rounds.begin("anna")
    speak(store, clock, 2)
    store.correct("anna", "session", "1000001", "ga mu")
    rounds.end(number)
    assert rounds.due() == ["anna"]


@pytest.mark.parametrize("error", ["the disk is full", None], ids=["failed", "its process died"])
def test_failures_double_the_wait(store: Store, rounds: Rounds, clock: Clock, error: str | None) -> None:
    speak(store, clock, 3)
    for failures in range(14):
        clock.now_s += 1
        number = rounds.begin("anna")
        if error:
            rounds.end(number, error)
        wait_s = PACE.retry_s * 2 ** min(failures, 10)
        clock.now_s += wait_s - 0.5
        assert rounds.due() == []
        clock.now_s += 0.5
        assert rounds.due() == ["anna"]
    learnt(rounds, clock)
    speak(store, clock, 3)
    assert rounds.due() == ["anna"]  # at once: what failed before is past
    learnt(rounds, clock, error="again")
    clock.now_s += PACE.retry_s
    assert rounds.due() == ["anna"]


def test_the_longest_waiting_comes_first_and_each_has_their_own_pace(
    store: Store, rounds: Rounds, clock: Clock
) -> None:
    for speaker in ("carol", "anna", "ben"):
        speak(store, clock, 3, speaker)
    assert rounds.due() == ["carol", "anna", "ben"]
    learnt(rounds, clock, "anna", "the disk is full")
    learnt(rounds, clock, "carol")
    assert rounds.due() == ["ben"]
    speak(store, clock, 3, "carol")
    clock.now_s += PACE.retry_s
    assert rounds.due() == ["anna", "ben", "carol"]


def test_who_is_forgotten_has_no_turn(store: Store, rounds: Rounds, clock: Clock) -> None:
    speak(store, clock, 3)
    number = rounds.begin("anna")
    store.forget("anna")
    rounds.end(number)
    rounds.end(number, "too late")
    assert rounds.due() == []
    with pytest.raises(StoreError, match="nothing is kept of this speaker"):
        rounds.begin("anna")
    speak(store, clock, 3)
    assert rounds.due() == ["anna"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from((1, 9, 10, 15, 40, 500, 1_000))),
        st.tuples(st.sampled_from(("speak", "correct", "begin", "end", "fail")), st.integers(0, 5)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_the_law(steps: list[tuple[str, int]]) -> None:
    """Due is who has new speech, enough of it or long ago, and no failure that is too recent."""
    clock, created_s = Clock(), 0.0
    changed: list[float] = []
    tried: list[tuple[float, str | None]] = []  # when each round began, and how it ended
    with TemporaryDirectory() as folder:
        store = Store(Path(folder), clock=clock)
        rounds = Rounds(store, PACE)
        numbers: list[int] = []
        for what, number in steps:
            match what:
                case "wait":
                    clock.now_s += number
                case "speak":
                    store.keep("anna", heard(len(changed), seconds=0.05))
                    created_s = created_s or clock.now_s
                    changed.append(clock.now_s)
                case "correct" if number < len(changed):
                    store.correct("anna", "session", str(number), "ga mu")
                    changed[number] = clock.now_s
                case "begin" if changed:
                    numbers.append(rounds.begin("anna"))
                    tried.append((clock.now_s, None))
                case "end" | "fail" if number < len(tried):
                    rounds.end(numbers[number], None if what == "end" else "failed")
                    tried[number] = tried[number][0], what
            done_s = max((began_s for began_s, ended in tried if ended == "end"), default=0.0)
            new = sum(at_s > done_s for at_s in changed)
            failures = sum(began_s > done_s for began_s, _ in tried)
            wait_s = PACE.retry_s * 2 ** min(10, failures - 1) if failures else 0
            enough = new >= PACE.utterances or (new and clock.now_s - (done_s or created_s) >= PACE.every_s)
            rested = clock.now_s >= max((began_s for began_s, _ in tried), default=0.0) + wait_s
            assert rounds.due() == (["anna"] if enough and rested else [])
        store.close()
