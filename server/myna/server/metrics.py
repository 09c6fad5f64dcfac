"""What `/metrics` tells: one registry for each server, so that several can live in one process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from myna.server.engine import StepReport
from myna.server.outputs import DecodeResult

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The server's counters. Names of streams, speakers and words are no labels."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.streams = Gauge("myna_streams", "Streams that hold a slot", registry=registry)
        self.backlog = Gauge("myna_backlog_seconds", "Speech of all streams that waits", registry=registry)
        self.closed = Counter("myna_streams_closed", "Streams that ended", ["reason"], registry=registry)
        self.audio = Counter("myna_audio_seconds", "Audio heard", registry=registry)
        self.finals = Counter("myna_finals", "Finals sent", registry=registry)
        self.queue = Histogram(
            "myna_queue_seconds", "A step's wait for the engine", buckets=_SECONDS, registry=registry
        )
        self.skipped = Counter("myna_provisional_skipped", "Provisional steps skipped for load", registry=registry)
        self.failures = Counter("myna_step_failures", "Rows of steps that failed", registry=registry)
        self.adapting = Gauge("myna_adapting", "Whether speakers are being learnt", registry=registry)
        self.rounds = Counter("myna_adapt_rounds", "Rounds at a speaker that ended", ["outcome"], registry=registry)
        self._step = Histogram("myna_step_seconds", "A step's time", ["kind"], buckets=_SECONDS, registry=registry)
        self._rows = Histogram("myna_step_rows", "Streams in a step", ["kind"], buckets=_ROWS, registry=registry)

    def step(self, report: StepReport) -> None:
        """Count a step; called on the engine's thread."""
        kind = "provisional" if report.provisional else "full"
        self._step.labels(kind).observe(report.seconds)
        self._rows.labels(kind).observe(report.rows)
        self.failures.inc(report.failed_rows)

    def result(self, result: DecodeResult | Exception | None) -> None:
        """Count what came back for one stream."""
        if result is None:
            self.skipped.inc()
        elif isinstance(result, DecodeResult):
            self.queue.observe(result.queue_ms / 1000)

    def text(self) -> bytes:
        """Write all in Prometheus' text format."""
        return generate_latest(self.registry)
