"""Captions in a terminal: what may still change is dim, what is stable is plain, finals scroll away above."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from myna.client.mic import LOWEST_DBFS
from myna.client.transcriber import Event
from myna.server.protocol import Final, Partial

METER_CELLS = 24
PER_SECOND = 20


class Captions:
    """Shows events as they come; use it as a context manager. Without a terminal only finals are written."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._caption = Text()
        self._meter: Text | None = None
        self._live = Live(console=self._console, refresh_per_second=PER_SECOND, transient=True)

    def __enter__(self) -> Self:
        """Take over the last lines of the terminal."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what is final."""
        self._live.stop()

    def show(self, event: Event) -> None:
        """Show what the server said."""
        match event:
            case Partial():
                self._caption = caption(event)
            case Final():
                self._caption = Text()
                if event.text:
                    self._console.print(Text(event.text))
            case _:
                return
        self._refresh()

    def meter(self, level_dbfs: float) -> None:
        """Show how loud it is."""
        self._meter = meter(level_dbfs)
        self._refresh()

    def _refresh(self) -> None:
        parts: list[RenderableType] = [part for part in (self._caption, self._meter) if part]
        self._live.update(Group(*parts))


def caption(partial: Partial) -> Text:
    """Set what is stable apart from what may change."""
    stable, open_end = partial.text[: partial.stable_chars], partial.text[partial.stable_chars :]
    return Text.assemble(stable, (open_end, "dim"))


def meter(level_dbfs: float) -> Text:
    """Draw a level as a bar."""
    cells = round(METER_CELLS * min(1.0, max(0.0, 1 - level_dbfs / LOWEST_DBFS)))
    colour = "red" if level_dbfs > -3 else "green"
    return Text.assemble(
        ("█" * cells, colour), ("·" * (METER_CELLS - cells), "dim"), (f" {level_dbfs:4.0f} dBFS", "dim")
    )
