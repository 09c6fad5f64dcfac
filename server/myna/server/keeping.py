"""Puts what speakers agreed to share into the store, in a thread of its own, in order: disks are slow."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from myna.adapt.store import Consent, Heard, Quotas, Store, StoreError
from myna.server.outputs import Amend, Keep
from myna.server.protocol import ModelName

logger = logging.getLogger(__name__)


class Keeper:
    """One server's way to its store, which is opened when the first speaker agrees."""

    def __init__(self, folder: Path, quotas: Quotas, model: ModelName) -> None:
        self._folder, self._quotas, self._model = folder, quotas, f"{model.name} {model.version}"
        self._opened: Store | None = None
        self._thread = ThreadPoolExecutor(1, "keeper")

    def keep(self, session: str, asked: Keep) -> None:
        """Keep an utterance, soon. A failure is logged: nobody waits for it."""

        def work() -> None:
            one = asked.recording
            consent: Consent = "configured" if asked.once_for_all else "stream"
            heard = Heard(
                one.samples, one.text, one.confidence, session, one.utterance, self._model, one.adapter, consent=consent
            )
            try:
                self._store().keep(asked.speaker, heard)
            except StoreError as error:
                logger.warning("stream %s: utterance %s is not kept: %s", session, one.utterance, error)

        self._thread.submit(work)

    def amend(self, asked: Amend, done: Callable[[str | None], object]) -> None:
        """Correct an utterance, after all asked for before; `done` hears what is wrong or None, in a thread."""

        def work() -> None:
            try:
                self._store().correct(asked.speaker, asked.session, asked.utterance, asked.text)
            except Exception as error:
                done(str(error) if isinstance(error, StoreError) else "the store failed; see the server's log")
                if not isinstance(error, StoreError):
                    logger.exception("stream %s: a correction failed", asked.session)
            else:
                done(None)

        self._thread.submit(work)

    def close(self) -> None:
        """Finish what was asked for, and close the store."""
        self._thread.shutdown()
        if self._opened:
            self._opened.close()

    def _store(self) -> Store:
        if self._opened is None:
            self._opened = Store(self._folder, self._quotas)
            self._opened.sweep()
        return self._opened
