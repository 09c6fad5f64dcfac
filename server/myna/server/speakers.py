"""Which weights a speaker's streams use: loaded on demand, the least recently used dropped, swapped as the store says.

At hand are the files of versions in use, which are small; what open streams use is also packed, once, as steps take it.
Disks are slow: everything here that touches one runs in a thread, and so does the packing.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from myna.adapt.store import InUse, Store, StoreError, Versions
from myna.models.adapter import AdapterBatch
from myna.models.adapter_file import AdapterError, read_adapter
from myna.models.spec import ModelSpec
from myna.server.outputs import Voice
from myna.server.protocol import AdapterName

logger = logging.getLogger(__name__)

POLL_S = 0.25  # how often the store is asked whether anything has changed


@dataclass(frozen=True, slots=True)
class Found:
    """What streams of a speaker use from now on; without a voice the base; `problem` says if that is a pity."""

    voice: Voice | None = None
    problem: str | None = None


class Listener(Protocol):
    """A stream that named its speaker."""

    @property
    def speaker(self) -> str | None:
        """Who speaks."""
        ...

    def weights_changed(self, found: Found) -> None:
        """Learn what to use from the next utterance on."""
        ...


class Speakers:
    """The adapters of a store for one base. `listeners` gives the streams there are."""

    def __init__(
        self, folder: Path, spec: ModelSpec, base: str, max_bytes: int, listeners: Callable[[], Iterable[Listener]]
    ) -> None:
        self._folder, self._spec, self._base, self._max_bytes = folder, spec, base, max_bytes
        self._listeners = listeners
        self._versions: Versions | None = None
        self._files: OrderedDict[str, tuple[str, bytes]] = OrderedDict()  # by speaker: version and content
        self._packed: WeakValueDictionary[str, AdapterBatch] = WeakValueDictionary()  # by version: open streams'
        self._lock = asyncio.Lock()
        self._seen = -1
        self._task: asyncio.Task[None] | None = None

    @property
    def resident_bytes(self) -> int:
        """Bytes of the adapters in memory, of files and of what is packed."""
        files = sum(len(content) for _, content in self._files.values())
        return files + sum(packed.nbytes for packed in list(self._packed.values()))

    async def find(self, speaker: str) -> Found:
        """Find what a speaker's streams use."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        async with self._lock:
            return await asyncio.to_thread(self._find, speaker)

    async def close(self) -> None:
        """Stop watching."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        """Tell streams of another version in use within a second."""
        while True:
            await asyncio.sleep(POLL_S)
            with suppress(StoreError):
                async with self._lock:
                    changed = await asyncio.to_thread(self._changed)
                if changed:
                    for stream in list(self._listeners()):
                        if stream.speaker is not None:
                            stream.weights_changed(await self.find(stream.speaker))

    def _changed(self) -> bool:
        """Tell whether the store has changed; let go of what no speaker uses any more."""
        versions = self._open()
        now = versions.changed() if versions else -1
        changed, self._seen = now != self._seen, now
        if versions and changed:
            used = versions.all_in_use()
            for speaker in [name for name, (version, _) in self._files.items() if used.get(name) != version]:
                del self._files[speaker]
        return changed

    def _open(self) -> Versions | None:
        """Open the store, where there is one by now."""
        if self._versions is None and self._folder.is_dir():
            self._versions = Versions(Store(self._folder))
        return self._versions

    def _find(self, speaker: str) -> Found:
        try:
            versions = self._open()
            used = versions.in_use(speaker) if versions else None
            if used is None:
                return Found()
            return Found(Voice(AdapterName(speaker=speaker, version=used.version), self._load(speaker, used)))
        except (StoreError, AdapterError) as error:
            logger.warning("an adapter is not used: %s", error)
            return Found(problem=str(error))

    def _load(self, speaker: str, used: InUse) -> AdapterBatch:
        packed = self._packed.get(used.version)
        if packed is None:
            version, content = self._files.get(speaker, (None, b""))
            if version != used.version:
                content = used.content()
            packed = read_adapter(content, self._spec, self._base).packed(self._spec)
            self._packed[used.version], self._files[speaker] = packed, (used.version, content)
        if speaker in self._files:
            self._files.move_to_end(speaker)
        while self._files and self.resident_bytes > self._max_bytes:
            self._files.popitem(last=False)
        return packed
