"""Runs the model for all streams on one thread: a step has one row of each stream that is ready.

Requests of a stream run in their order. Whoever was served longest ago comes first, so a file that is sent as fast as
the wire allows does not push live streams aside. Provisional steps run only while there is time to spare.
"""

import heapq
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from myna.models.adapter import AdapterRoom
from myna.models.runtime import Runtime
from myna.server.errors import InferenceError, Overloaded
from myna.server.outputs import DecodeRequest, DecodeResult
from myna.server.slots import Slots

logger = logging.getLogger(__name__)

Done = Callable[[DecodeResult | Exception | None], None]
LOAD_SPAN_S = 2.0  # over which the load is averaged
PROVISIONAL_SHARE = 4  # so much smaller are provisional batches: a full one may come up behind them


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The engine's bounds."""

    max_streams: int = 32
    max_batch: int = 8
    batch_wait_ms: float = 5.0
    provisional_load: float = 0.6  # share of the time that steps take; above it, provisional ones are skipped
    retry_after_s: float = 5.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step that was run, for the metrics."""

    rows: int
    provisional: bool
    seconds: float
    failed_rows: int


@dataclass(frozen=True, slots=True)
class _Job:
    slot: int
    request: DecodeRequest
    done: Done
    submitted_s: float


class Engine:
    """The only place that runs the model. `done` callbacks are called on the engine's thread."""

    def __init__(
        self,
        runtime: Runtime,
        settings: EngineSettings | None = None,
        observe: Callable[[StepReport], None] = lambda report: None,
    ) -> None:
        self._settings = settings or EngineSettings()
        self._runtime = runtime
        self._observe = observe
        self._slots = Slots(runtime.spec, self._settings.max_streams, self._settings.max_batch)
        self._room = AdapterRoom(runtime.spec)
        self._changed = threading.Condition()
        self._free = list(range(self._settings.max_streams))  # a heap: low slots first, whose memory is in use
        self._queues: dict[int, deque[_Job]] = {}
        self._served_s: dict[int, float] = {}
        self._running = True
        self._load = _Load()
        self._thread = threading.Thread(target=self._run, name="myna-engine", daemon=True)
        self._thread.start()

    @property
    def open_slots(self) -> int:
        """Streams that hold a slot."""
        return len(self._queues)

    @property
    def load(self) -> float:
        """The share of the last seconds that went into steps."""
        return self._load.at(perf_counter())

    @property
    def alive(self) -> bool:
        """Whether steps are being run."""
        return self._thread.is_alive()

    def open(self) -> int:
        """Take a slot for a stream, whose first request must be `first`. Raises Overloaded."""
        with self._changed:
            if not self._free:
                raise Overloaded(self._settings.retry_after_s)
            slot = heapq.heappop(self._free)
            self._queues[slot] = deque()
            self._served_s[slot] = 0.0
            return slot

    def close(self, slot: int) -> None:
        """Give a slot back; what it still waits for is dropped."""
        with self._changed:
            del self._queues[slot], self._served_s[slot]
            heapq.heappush(self._free, slot)

    def submit(self, slot: int, request: DecodeRequest, done: Done) -> None:
        """Queue a step. `done` gets the result, None for a provisional step that was skipped, or an InferenceError."""
        with self._changed:
            self._queues[slot].append(_Job(slot, request, done, perf_counter()))
            self._changed.notify()

    def stop(self) -> None:
        """Stop after the step under way; whoever still waits gets an InferenceError."""
        with self._changed:
            self._running = False
            self._changed.notify()
        self._thread.join()
        for job in [job for queue in self._queues.values() for job in queue]:
            _tell(job, InferenceError("the engine has stopped"))

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._running:
                    skipped, jobs, patience_s = self._choose(perf_counter())
                    if skipped or jobs:
                        break
                    self._changed.wait(patience_s)
                else:
                    return
            for job in skipped:
                _tell(job, None)
            if jobs:
                self._step(jobs)

    # ------------------------------------------------------------------ choosing, under the lock

    def _choose(self, now_s: float) -> tuple[list[_Job], list[_Job], float | None]:
        """Choose what to skip, what to run, and, where that is nothing, how long to wait (None: for a request)."""
        settings, skipped = self._settings, self._outdated()
        full = self._heads(keep=True)
        if full:
            left_s = min(job.submitted_s for job in full) + settings.batch_wait_ms / 1000 - now_s
            if left_s > 0 and len(full) < min(settings.max_batch, len(self._queues)):
                return skipped, [], left_s
            return skipped, self._pop(full[: settings.max_batch], now_s), None
        early = self._heads(keep=False)
        if self._load.at(now_s) > settings.provisional_load:
            return skipped + self._pop(early, now_s), [], None
        return skipped, self._pop(early[: max(1, settings.max_batch // PROVISIONAL_SHARE)], now_s), None

    def _outdated(self) -> list[_Job]:
        """Take out the provisional steps behind which something newer of their stream waits."""
        outdated = []
        for queue in self._queues.values():
            while len(queue) > 1 and not queue[0].request.keep:
                outdated.append(queue.popleft())
        return outdated

    def _heads(self, keep: bool) -> list[_Job]:
        """Each stream's next step, if it is of that kind; whoever was served longest ago first."""
        heads = [queue[0] for queue in self._queues.values() if queue and queue[0].request.keep is keep]
        return sorted(heads, key=lambda job: (self._served_s[job.slot], job.submitted_s))

    def _pop(self, jobs: list[_Job], now_s: float) -> list[_Job]:
        for job in jobs:
            self._queues[job.slot].popleft()
            self._served_s[job.slot] = now_s
        return jobs

    # ------------------------------------------------------------------ running

    def _step(self, jobs: list[_Job]) -> None:
        """Run a step and tell each row. If it fails, each row is tried alone: only the culprit is told of it."""
        began_s = perf_counter()
        try:
            results = self._compute(jobs, began_s)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._step([job])
                return
            logger.exception("a step failed")
            results = [InferenceError(f"the model failed: {type(error).__name__}")]
        ended_s = perf_counter()
        self._load.add(began_s, ended_s)
        failed = sum(isinstance(result, Exception) for result in results)
        self._observe(StepReport(len(jobs), not jobs[0].request.keep, ended_s - began_s, failed))
        for job, result in zip(jobs, results, strict=True):
            _tell(job, result)

    def _compute(self, jobs: list[_Job], began_s: float) -> list[DecodeResult | Exception]:
        batch = self._slots.gather([job.slot for job in jobs], [job.request for job in jobs])
        adapters = self._room.join([job.request.adapter for job in jobs])
        step = self._runtime.step(
            batch.feats, batch.frames, batch.offset, batch.cached, batch.att, batch.conv, adapters
        )
        compute_ms = (perf_counter() - began_s) * 1000
        results: list[DecodeResult | Exception] = []
        for row, job in enumerate(jobs):
            log_probs = step.log_probs[row, : job.request.frames]
            if not np.isfinite(log_probs).all():  # must not reach the slot: it would stay
                results.append(InferenceError("the model gave numbers that are not finite"))
                continue
            if job.request.keep:
                self._slots.keep(job.slot, job.request, step.att_new[row], step.conv_new[row])
            queue_ms = (began_s - job.submitted_s) * 1000
            results.append(DecodeResult(log_probs, queue_ms=queue_ms, compute_ms=compute_ms))
        return results


class _Load:
    """The share of the last seconds that went into steps, as an exponential average."""

    def __init__(self) -> None:
        self._share = 0.0
        self._at_s = 0.0

    def at(self, now_s: float) -> float:
        """Tell the share, idle since the last step."""
        return self._share * math.exp((self._at_s - now_s) / LOAD_SPAN_S)

    def add(self, began_s: float, ended_s: float) -> None:
        """Count a step."""
        self._share = 1 - (1 - self.at(began_s)) * math.exp((began_s - ended_s) / LOAD_SPAN_S)
        self._at_s = ended_s


def _tell(job: _Job, result: DecodeResult | Exception | None) -> None:
    try:
        job.done(result)
    except Exception:
        logger.exception("a callback failed")
