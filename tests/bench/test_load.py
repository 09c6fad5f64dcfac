"""The load: what is sent, what is summed up, on a real server."""

import json
import os
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from myna.bench.cli import app
from myna.bench.load import RATE_HZ, Watch, percentiles, pinned, speech
from myna.server.protocol import Final, Latency, Partial
from tests.support import TINY


def test_streams_speak_differently_and_as_long_as_asked() -> None:
    clips = [np.full(RATE_HZ, value, np.int16) for value in (1, 2, 3)]
    first, second = (np.frombuffer(speech(clips, 4.5, stream), np.int16) for stream in (0, 1))
    assert len(first) == len(second) == 4.5 * RATE_HZ
    assert first[::RATE_HZ].tolist() == [1, 2, 3, 1, 2]
    assert second[::RATE_HZ].tolist() == [2, 3, 1, 2, 3]


def test_a_delay_counts_from_the_spoken_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(began_s=100.0)
    monkeypatch.setattr("myna.bench.load.time.perf_counter", lambda: 103.25)
    watch.show(Partial(utterance="0", text="a", stable_chars=1, start=0.5, end=3.0))
    latency = Latency(audio_to_engine_ms=1, queue_ms=2, compute_ms=3)
    watch.show(Final(utterance="0", text="a b", confidence=1, start=0, end=3, latency=latency))
    assert (watch.delays_ms, watch.queue_ms, watch.compute_ms, watch.words) == ([250.0], [2.0], [3.0], 2)
    assert watch.arrived_s == [103.25]


def test_percentiles() -> None:
    assert percentiles(list(range(101))) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([]) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")
def test_pinning_ends_with_the_other_cores() -> None:
    before = os.sched_getaffinity(0)
    try:
        with pinned(1):
            assert len(os.sched_getaffinity(0)) == 1
        assert os.sched_getaffinity(0) == (set(sorted(before)[1:]) or before)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the server's memory from /proc")
def test_reports_delays_and_costs() -> None:
    args = ["load", "--model", str(TINY), "--streams", "3", "--seconds", "4", "--cores", "0", "--json"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["captions"] > 0
    assert found["words"] > 0
    assert found["delay_ms"]["p50"] > 0
    assert found["resident_mb"] > 10
    assert found["ready_s"] > 0
