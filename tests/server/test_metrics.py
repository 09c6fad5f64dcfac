"""The figures: what is counted where, and by which names; what a stream leaves in them."""

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from myna.server.engine import StepReport
from myna.server.errors import InferenceError
from myna.server.metrics import Metrics
from myna.server.outputs import DecodeResult
from tests.server.clients import AUDIO, PACKET_BYTES, connecting, hear, next_of, rest, say, serving


def figures(metrics: Metrics) -> dict[str, float]:
    """Read the text as Prometheus does; the process's own figures left out."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if not family.name.startswith("process_") and not sample.name.endswith("_created")
    }


def test_steps_are_counted_by_kind() -> None:
    metrics = Metrics()
    metrics.step(StepReport(rows=3, provisional=False, seconds=0.04, failed_rows=1))
    metrics.step(StepReport(rows=1, provisional=True, seconds=0.3, failed_rows=0))
    metrics.step(StepReport(rows=5, provisional=False, seconds=0.06, failed_rows=1))
    found = figures(metrics)
    assert found["myna_step_seconds_count full"] == 2
    assert found["myna_step_seconds_sum full"] == 0.1
    assert found["myna_step_rows_sum full"] == 8
    assert found["myna_step_rows_count provisional"] == 1
    assert found["myna_step_failures_total"] == 2


def test_results_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.result(DecodeResult(np.zeros((1, 2), np.float32), queue_ms=250.0))
    metrics.result(None)
    metrics.result(None)
    metrics.result(InferenceError("counted with its step"))
    found = figures(metrics)
    assert (found["myna_queue_seconds_count"], found["myna_queue_seconds_sum"]) == (1, 0.25)
    assert found["myna_provisional_skipped_total"] == 2
    assert found["myna_step_failures_total"] == 0


def test_two_servers_in_a_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.finals.inc()
    assert figures(other)["myna_finals_total"] == 0


def test_the_process_tells_of_itself() -> None:
    text = Metrics().text().decode()
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= set(text.split())


async def test_what_a_stream_leaves() -> None:
    with serving() as running:
        metrics = running.server.metrics
        await hear(running.url)
        await running.at_rest()
        async with connecting(running.url) as stream:
            await say(stream, "start")
            await stream.send(AUDIO[:PACKET_BYTES])
            await next_of(stream, "ready")
            assert figures(metrics)["myna_streams"] == 1
        async with connecting(running.url) as stream:
            await stream.send("{}")
            await rest(stream)
        await running.at_rest()
        found = figures(metrics)
    reasons = {name: value for name, value in found.items() if name.startswith("myna_streams_closed_total")}
    assert reasons == {f"myna_streams_closed_total {reason}": 1 for reason in ("done", "left", "bad_message")}
    assert found["myna_audio_seconds_total"] == pytest.approx((len(AUDIO) + PACKET_BYTES) / 32_000)
    assert found["myna_finals_total"] == 3
    assert found["myna_step_seconds_count full"] > 3
    assert (found["myna_streams"], found["myna_backlog_seconds"]) == (0, 0)
