"""Prompts read aloud, one after the other: recorded, looked at, kept; again, back, skipped or left by one key."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from myna.adapt.keyboard import ENTER, QUIT
from myna.adapt.recordings import keep
from myna.adapt.store import Store
from myna.adapt.take import Take
from myna.client import mic
from myna.models.errors import MynaError

AGAIN, BACK, SKIP = "r", "b", "s"
KEYS = frozenset({ENTER, AGAIN, BACK, SKIP, QUIT})
REST = "r again   b back   s skip   q quit"
METER_CELLS = 24
STALLED_S = 5.0  # without a block, a microphone is taken for gone


class NoSound(MynaError):
    """The microphone was there and gives nothing any more."""

    code = "no_sound"


class Reader:
    """One speaker at a microphone and a keyboard; takes end after so much silence behind speech."""

    def __init__(
        self,
        store: Store,
        speaker: str,
        device: mic.Device,
        keys: asyncio.Queue[str],
        console: Console,
        silence_s: float,
    ) -> None:
        self._store, self._speaker, self._device = store, speaker, device
        self._keys, self._console, self._silence_s = keys, console, silence_s

    async def read(self, prompts: list[str]) -> list[dict[str, Any]]:
        """Go through the prompts; return what `--json` says of those kept. Raises NoMicrophone, NoSound, StoreError."""
        kept: dict[int, dict[str, Any]] = {}
        index = 0
        while index < len(prompts):
            heading = Text.assemble(f"\n{index + 1} of {len(prompts)}   ", (prompts[index], "bold"))
            take, key = await self._record(heading)
            if key == ENTER:
                key = await self._judge(take.faults(prompts[index]), take.begun)
            if key == QUIT:
                break
            if key == ENTER:
                kept[index] = keep(self._store, self._speaker, prompts[index], take.samples())
                self._console.print(f"kept: {kept[index]['seconds']:.1f} s", style="green")
            if key == BACK:
                index = max(0, index - 1)
                self._remove(kept.pop(index, None))
            elif key != AGAIN:
                index += 1
        return list(kept.values())

    async def _record(self, heading: Text) -> tuple[Take, str]:
        """Record until a key or silence behind speech, which counts as ENTER; return what was heard, and the key."""
        take = Take(self._silence_s)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            async with mic.listen(self._device) as blocks:
                self._console.print(heading)
                while not take.ended:
                    if not self._keys.empty() and (key := self._keys.get_nowait()) in KEYS:
                        return take, key
                    block = await _next(blocks)
                    take.hear(block)
                    if self._console.is_terminal:
                        live.update(_meter(mic.level_dbfs(block), take.begun), refresh=True)
        return take, ENTER

    async def _judge(self, faults: list[str], usable: bool) -> str:
        """Decide about a take: good ones are kept, of others the speaker is asked."""
        if not faults:
            return ENTER
        for fault in faults:
            self._console.print(fault, style="yellow", markup=False)
        self._console.print(f"Enter {'keep it all the same' if usable else 'again'}   {REST}", style="dim")
        while (key := await self._keys.get()) not in KEYS:
            pass
        return AGAIN if key == ENTER and not usable else key

    def _remove(self, row: dict[str, Any] | None) -> None:
        """Give up what was kept of a prompt, for another reading of it."""
        if row:
            self._store.remove([one for one in self._store.utterances(self._speaker) if one.id == row["id"]])


async def _next(blocks: AsyncIterator[bytes]) -> bytes:
    try:
        async with asyncio.timeout(STALLED_S):
            return await anext(blocks)
    except TimeoutError:
        raise NoSound("the microphone gives no sound any more; is it still connected?") from None


def _meter(level_dbfs: float, begun: bool) -> Table:
    """Draw how loud it is, and what can be done."""
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=-mic.LOWEST_DBFS, completed=level_dbfs - mic.LOWEST_DBFS, width=METER_CELLS)
    grid.add_row(bar, Text(f"{'Enter done   ' if begun else ''}{REST}", "dim"))
    return grid
