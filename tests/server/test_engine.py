import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from myna.models.bundle import read_bundle
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings, StepReport
from myna.server.errors import InferenceError, Overloaded
from myna.server.outputs import DecodeRequest, DecodeResult
from tests.support import TINY

SPEC = read_bundle(TINY).spec
PATIENCE_S = 20


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(read_bundle(TINY))


@contextmanager
def running(
    runtime: Runtime, observe: Callable[[StepReport], None] = lambda _: None, **settings: Any
) -> Iterator[Engine]:
    engine = Engine(runtime, EngineSettings(**settings), observe)
    try:
        yield engine
    finally:
        engine.stop()


def request(seed: int, frames: int = 8, first: bool = False, keep: bool = True) -> DecodeRequest:
    rng = np.random.default_rng(seed)
    feats = rng.normal(10, 3, (SPEC.features_needed(frames), SPEC.features.mels)).astype(np.float32)
    return DecodeRequest(seed, feats, frames, first, keep, SPEC.left_frames)


def ask(engine: Engine, slot: int, asked: DecodeRequest) -> Future[DecodeResult | None]:
    future: Future[DecodeResult | None] = Future()

    def done(result: DecodeResult | Exception | None) -> None:
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    engine.submit(slot, asked, done)
    return future


def log_probs(future: Future[DecodeResult | None]) -> np.ndarray:
    result = future.result(PATIENCE_S)
    assert result is not None
    return result.log_probs


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """Keep the engine's thread in a callback, so that requests pile up behind it."""
    slot, entered, leave = engine.open(), threading.Event(), threading.Event()

    def done(result: object) -> None:
        entered.set()
        leave.wait(PATIENCE_S)

    engine.submit(slot, request(99, first=True), done)
    assert entered.wait(PATIENCE_S)
    try:
        yield
    finally:
        engine.close(slot)
        leave.set()


def utterance(engine: Engine, seeds: range, provisional: bool = False) -> list[np.ndarray]:
    """Speak one utterance on a slot of its own."""
    slot, results = engine.open(), []
    for i in seeds:
        if provisional:
            ask(engine, slot, request(i + 1000, frames=4, first=i == seeds[0], keep=False)).result(PATIENCE_S)
        results.append(log_probs(ask(engine, slot, request(i, first=i == seeds[0]))))
    engine.close(slot)
    return results


def test_results_say_where_the_time_went(runtime: Runtime) -> None:
    with running(runtime) as engine:
        result = ask(engine, engine.open(), request(0, frames=3, first=True)).result(PATIENCE_S)
    assert result is not None
    assert result.log_probs.shape == (3, SPEC.vocabulary)
    assert result.compute_ms > 0
    assert result.queue_ms >= 0


def test_waiting_streams_share_a_step(runtime: Runtime) -> None:
    reports: list[StepReport] = []
    with running(runtime, reports.append) as engine:
        with held(engine):
            futures = [ask(engine, engine.open(), request(i, first=True)) for i in range(5)]
        for future in futures:
            log_probs(future)
    assert [report.rows for report in reports] == [1, 5]


def test_a_provisional_step_leaves_no_trace(runtime: Runtime) -> None:
    with running(runtime, provisional_load=2.0) as engine:
        plain, tried = utterance(engine, range(12)), utterance(engine, range(12), provisional=True)
    assert all(np.array_equal(a, b) for a, b in zip(plain, tried, strict=True))


def test_a_provisional_step_is_skipped_for_a_newer_one_and_under_load(runtime: Runtime) -> None:
    with running(runtime, provisional_load=2.0) as engine:
        slot = engine.open()
        with held(engine):
            early, late = (ask(engine, slot, request(i, 4, first=True, keep=False)) for i in (0, 1))
        assert early.result(PATIENCE_S) is None
        assert late.result(PATIENCE_S) is not None
    with running(runtime, provisional_load=-1.0) as engine:
        assert ask(engine, engine.open(), request(0, 4, first=True, keep=False)).result(PATIENCE_S) is None


def test_the_load_rises_with_steps_and_falls_without(runtime: Runtime) -> None:
    with running(runtime) as engine:
        assert engine.load == 0
        utterance(engine, range(4))
        loads = [engine.load for _ in range(100)]
        assert 1 > loads[0] > loads[-1] > 0


def test_full_steps_go_before_provisional_ones(runtime: Runtime) -> None:
    kinds: list[bool] = []
    with running(runtime, lambda report: kinds.append(report.provisional), provisional_load=2.0) as engine:
        with held(engine):
            early = ask(engine, engine.open(), request(0, 4, first=True, keep=False))
            full = ask(engine, engine.open(), request(1, first=True))
        log_probs(full), log_probs(early)
    assert kinds == [False, False, True]


def test_a_fast_stream_does_not_starve_a_live_one(runtime: Runtime) -> None:
    order: list[str] = []
    with running(runtime, max_batch=1) as engine:
        fast, live = engine.open(), engine.open()
        with held(engine):
            file = [ask(engine, fast, request(i, first=i == 0)) for i in range(8)]
            for future in file:
                future.add_done_callback(lambda _: order.append("file"))
            ask(engine, live, request(50, first=True)).add_done_callback(lambda _: order.append("live"))
        log_probs(file[-1])
    assert order.index("live") <= 1
    assert len(order) == 9


@pytest.mark.parametrize("mels", [SPEC.features.mels, 7])
def test_a_poisoned_row_harms_nobody_else(runtime: Runtime, mels: int) -> None:
    """NaN runs through the model, a wrong shape fails the whole step; both stay with their stream."""
    reports: list[StepReport] = []
    poison = DecodeRequest(0, np.full((SPEC.features_needed(8), mels), np.nan, np.float32), 8, True, True, 64)
    with running(runtime, reports.append) as engine:
        alone = utterance(engine, range(3))
        good, bad = engine.open(), engine.open()
        with held(engine):
            healthy, poisoned = ask(engine, good, request(0, first=True)), ask(engine, bad, poison)
        with pytest.raises(InferenceError):
            poisoned.result(PATIENCE_S)
        beside = [log_probs(healthy), *(log_probs(ask(engine, good, request(i))) for i in (1, 2))]
        engine.close(bad)
        again = utterance(engine, range(3))  # on the poisoned slot
    assert sum(report.failed_rows for report in reports) == 1
    for a, b, c in zip(alone, beside, again, strict=True):
        assert np.allclose(a, b, atol=1e-5)
        assert np.allclose(a, c, atol=1e-5)


def test_a_failing_callback_does_not_stop_the_engine(runtime: Runtime) -> None:
    def done(result: object) -> None:
        raise RuntimeError("the loop is closed")

    with running(runtime) as engine:
        slot = engine.open()
        engine.submit(slot, request(0, first=True), done)
        assert log_probs(ask(engine, slot, request(1))).shape == (8, SPEC.vocabulary)
        assert engine.alive


def test_slots_are_bounded_and_come_back(runtime: Runtime) -> None:
    with running(runtime, max_streams=2, retry_after_s=3.0) as engine:
        first, _ = engine.open(), engine.open()
        with pytest.raises(Overloaded) as refused:
            engine.open()
        assert refused.value.retry_after_s == 3.0
        engine.close(first)
        assert engine.open() == first
        assert engine.open_slots == 2


def test_a_closed_stream_drops_what_it_waited_for(runtime: Runtime) -> None:
    with running(runtime) as engine:
        slot = engine.open()
        with held(engine):
            dropped = ask(engine, slot, request(0, first=True))
            engine.close(slot)
            heir = engine.open()
            future = ask(engine, heir, request(1, first=True))
        assert heir == slot
        log_probs(future)
        assert not dropped.done()


def test_stopping_tells_who_still_waits(runtime: Runtime) -> None:
    with running(runtime) as engine:
        slot = engine.open()
        with held(engine):
            waiting = ask(engine, slot, request(0, first=True))
            stopper = threading.Thread(target=engine.stop)
            stopper.start()
            while engine._running:
                stopper.join(0.01)
        with pytest.raises(InferenceError):
            waiting.result(PATIENCE_S)
        stopper.join(PATIENCE_S)
        assert not engine.alive
