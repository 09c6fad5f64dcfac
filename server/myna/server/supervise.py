"""Has speakers learnt while the server runs: `myna adapt` as a process of its own, whenever somebody is due.

One process at a time. It is told over its stdin when streams need the machine, and ends when that closes: with the
server, however that ends.
"""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from myna.adapt.store import Pace, Rounds, Store, StoreError
from myna.server.config import ServerConfig
from myna.server.metrics import Metrics

logger = logging.getLogger(__name__)

POLL_S = 5.0  # how often the store is asked whose turn it is
WATCH_S = 0.25  # how often the load is looked at meanwhile
CALM_SHARE = 0.67  # of `adapt_load`, below which the load must fall before learning goes on
RETRY_S = 30.0  # after a process that failed; doubled by each further one
MOST_RETRY_S = 3_600.0
GRACE_S = 1.0  # to end when told to
LINE_BYTES = 1 << 20  # of what it prints, at most


class WorkerFailed(Exception):
    """The process ended with an error; the text is the last thing it said."""


def supervise(config: ServerConfig, load: Callable[[], float], metrics: Metrics) -> "Supervisor | None":
    """Begin to watch whose turn it is, on the running loop; None where nothing is to be learnt, or can be."""
    if config.data_dir is None or not config.adapt:
        return None
    if find_spec("torch") is None:
        logger.info("speakers are not learnt: PyTorch is missing; install the extra `adapt`: pip install '.[adapt]'")
        return None
    return Supervisor(Path(config.data_dir).expanduser(), config, load, metrics)


class Supervisor:
    """A task of the server. `load` gives the share of the time that streams take of the engine."""

    def __init__(self, folder: Path, config: ServerConfig, load: Callable[[], float], metrics: Metrics) -> None:
        self._folder, self._config, self._load, self._metrics = folder, config, load, metrics
        self._pace = Pace(config.adapt_after, config.adapt_every_h * 3600)
        self._store: Store | None = None
        self._busy = False
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the process, if there is one, and stop watching."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._store:
            await asyncio.to_thread(self._store.close)

    async def _run(self) -> None:
        failures = 0
        while True:
            wait_s = POLL_S
            try:
                if not self._is_busy() and await asyncio.to_thread(self._somebody_is_due):
                    await self._learn()
                    failures = 0
            except Exception as error:
                wait_s = min(MOST_RETRY_S, RETRY_S * 2 ** min(failures, 20))
                failures += 1
                known = isinstance(error, WorkerFailed | StoreError | OSError)
                logger.warning("learning failed; once more in %.0f s: %s", wait_s, error, exc_info=not known)
                self._metrics.rounds.labels("failed").inc()
            await asyncio.sleep(wait_s)

    def _somebody_is_due(self) -> bool:
        """Ask the store, where there is one by now."""
        if self._store is None and self._folder.is_dir():
            self._store = Store(self._folder)
        return self._store is not None and bool(Rounds(self._store, self._pace).due())

    def _is_busy(self) -> bool:
        """Tell whether streams need the machine, with some hysteresis."""
        limit = self._config.adapt_load
        self._busy = self._load() > (limit * CALM_SHARE if self._busy else limit)
        return self._busy

    # ------------------------------------------------------------------ the process

    async def _learn(self) -> None:
        """Have everybody learnt who is due. Raises WorkerFailed and OSError."""
        # In a session of its own, so that Ctrl-C is the server's to deal with.
        process = await asyncio.create_subprocess_exec(
            *self._command(), stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LINE_BYTES, start_new_session=True
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            with self._metrics.adapting.track_inprogress():
                async with asyncio.TaskGroup() as tasks:
                    pacing = tasks.create_task(self._tell_of_load(process.stdin))
                    tasks.create_task(self._report(process.stdout))
                    last = tasks.create_task(_last_line(process.stderr))
                    await process.wait()
                    pacing.cancel()
        finally:
            await _end(process)
        if process.returncode:
            raise WorkerFailed(last.result() or f"the process ended with {process.returncode}")

    def _command(self) -> list[str]:
        """Write the command line: no names, which other users of the machine could read."""
        config, pace = self._config, self._pace
        command = [sys.executable, "-m", "myna.server.main", "adapt", "--background", "--json"]
        command += ["--data-dir", str(self._folder), "--after", str(pace.utterances)]
        command += ["--every-h", str(config.adapt_every_h)]
        command += ["--model", config.model] if config.model else []
        command += ["--config", str(config.adapt_config)] if config.adapt_config else []
        return command

    async def _tell_of_load(self, stdin: asyncio.StreamWriter) -> None:
        """Tell the process when to rest, and when to go on."""
        told = False
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(WATCH_S)
                if self._is_busy() is not told:
                    told = self._busy
                    stdin.write(b"busy\n" if told else b"calm\n")
                    await stdin.drain()

    async def _report(self, stdout: asyncio.StreamReader) -> None:
        """Pass on how each round ended, without the speaker's name."""
        async for line in stdout:
            with suppress(ValueError, TypeError, KeyError):  # a library that prints
                outcome = json.loads(line)
                kind = "failed" if outcome["failed"] else "published" if outcome["version"] else "refused"
                logger.info("a round ended: %s", outcome["version"] or kind)
                self._metrics.rounds.labels(kind).inc()


async def _last_line(stderr: asyncio.StreamReader) -> str:
    """Read to the end."""
    last = b""
    async for line in stderr:
        last = line.strip() or last
    return last.decode(errors="replace")


async def _end(process: Process) -> None:
    """See to it that it runs no more, and that its pipes are closed."""
    assert process.stdin
    process.stdin.close()
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.communicate()
