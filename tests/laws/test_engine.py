"""Law 3: a row does not depend on its neighbours, its place, padding or their adapters; here through the engine."""

from concurrent.futures import Future

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.models.adapter import AdapterBatch
from myna.models.bundle import read_bundle
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings
from myna.server.outputs import DecodeRequest, DecodeResult
from tests.support import TINY

RUNTIME = Runtime(read_bundle(TINY))
SPEC = RUNTIME.spec
CHUNKS = st.lists(st.tuples(st.integers(1, 16), st.booleans()), min_size=1, max_size=8)  # frames, provisional before
RANKS = st.one_of(st.none(), st.integers(0, 5))  # of a stream's adapter, if it has one


def adapter(rank: int | None, seed: int) -> AdapterBatch | None:
    if rank is None:
        return None
    zeros, rng = AdapterBatch.zeros(SPEC, 1, rank), np.random.default_rng(seed)
    return AdapterBatch(*(0.1 * rng.standard_normal(a.shape, np.float32) for a in (zeros.down, zeros.up, zeros.shift)))


def requests(
    chunks: list[tuple[int, bool]], seed: int, provisional: bool, rank: int | None = None
) -> list[DecodeRequest]:
    """Cut one utterance of random features into the steps of a stream."""
    bend = adapter(rank, seed)
    rng = np.random.default_rng(seed)
    total = sum(frames for frames, _ in chunks)
    feats = rng.normal(10, 3, (SPEC.features_needed(total), SPEC.features.mels)).astype(np.float32)
    asked: list[DecodeRequest] = []
    at = 0
    for frames, tried in chunks:
        for keep in (False, True) if tried and provisional else (True,):
            count = frames if keep else (frames + 1) // 2
            start = at * SPEC.subsampling
            part = feats[start : start + SPEC.features_needed(count)]
            asked.append(DecodeRequest(len(asked), part, count, at == 0, keep, SPEC.left_frames, bend))
        at += frames
    return asked


def run(streams: list[list[DecodeRequest]], max_batch: int) -> list[np.ndarray]:
    """Decode all streams at once; join the log-probs of each stream's full steps."""
    engine = Engine(RUNTIME, EngineSettings(max_batch=max_batch, provisional_load=2.0))
    pending: list[list[Future[DecodeResult | Exception | None]]] = []
    for stream in streams:
        slot = engine.open()
        futures: list[Future[DecodeResult | Exception | None]] = [Future() for request in stream]
        for request, future in zip(stream, futures, strict=True):
            engine.submit(slot, request, future.set_result)
        pending.append([future for request, future in zip(stream, futures, strict=True) if request.keep])
    results = [[future.result(20) for future in futures] for futures in pending]
    engine.stop()
    return [np.concatenate([r.log_probs for r in rows if isinstance(r, DecodeResult)]) for rows in results]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(CHUNKS, RANKS), min_size=1, max_size=5), st.integers(1, 4))
def test_a_stream_is_heard_the_same_alone_and_among_others(
    streams: list[tuple[list[tuple[int, bool]], int | None]], max_batch: int
) -> None:
    together = run([requests(chunks, seed, True, rank) for seed, (chunks, rank) in enumerate(streams)], max_batch)
    for seed, ((chunks, rank), beside) in enumerate(zip(streams, together, strict=True)):
        alone = run([requests(chunks, seed, False, rank)], 1)[0]
        assert beside.shape == (sum(frames for frames, _ in chunks), SPEC.vocabulary)
        assert np.allclose(alone, beside, atol=1e-5)
