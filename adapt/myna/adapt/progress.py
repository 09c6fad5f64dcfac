"""What a run says while it runs: lines on the terminal, a table of figures, a picture of them, TensorBoard."""

import csv
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from myna.models.errors import MynaError

TABLE = "progress.csv"
PICTURE = "progress.png"


class ProgressError(MynaError):
    """What a run says can't be said so; names the remedy."""

    code = "bad_progress"


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of some steps, the last of which is `step`; a WER stands at validations alone."""

    step: int
    epoch: float
    minutes: float
    rate: float | None = None
    loss: float | None = None
    times_real_time: float | None = None
    wer: float | None = None


class Progress:
    """Writes into a folder. Rows after `step` are of a run that was broken off behind its last checkpoint, and go."""

    def __init__(self, folder: Path, step: int = 0, tensorboard: bool = False, console: Console | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._console = folder, console
        self.rows = [row for row in read_rows(folder / TABLE) if row.step <= step] if step else []
        temporary = folder / f".{TABLE}.new"
        with temporary.open("w", newline="") as file:
            csv.writer(file).writerows([[f.name for f in fields(Row)], *map(_cells, self.rows)])
        os.replace(temporary, folder / TABLE)
        self._board = _board(folder) if tensorboard else None

    def say(self, line: str) -> None:
        """Show a line."""
        if self._console is not None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def add(self, row: Row) -> None:
        """Show a row and write it down at once."""
        self.rows.append(row)
        with (self._folder / TABLE).open("a", newline="") as file:
            csv.writer(file).writerow(_cells(row))
        if self._board is not None:
            for name in ("rate", "loss", "times_real_time", "wer"):
                if (value := getattr(row, name)) is not None:
                    self._board.add_scalar(name, value, row.step)
        self.say(line_of(row))

    def draw(self) -> None:
        """Draw loss, rate and WER over the steps as a PNG."""
        from matplotlib.figure import Figure  # a second to import

        figure = Figure((9, 7), layout="constrained")
        axes = figure.subplots(3, sharex=True)
        for axis, name, scale in zip(axes, ("loss", "wer", "rate"), ("log", "linear", "linear"), strict=True):
            points = [(row.step, value) for row in self.rows if (value := getattr(row, name)) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), marker="." if name == "wer" else None)
            axis.set(ylabel=name.upper() if name == "wer" else name)
            if scale == "log" and points and min(value for _, value in points) > 0:
                axis.set_yscale("log")
            axis.grid(alpha=0.3)
        axes[-1].set_xlabel("step")
        temporary = self._folder / f".{PICTURE}.new"
        figure.savefig(temporary, format="png", dpi=100)
        os.replace(temporary, self._folder / PICTURE)

    def close(self) -> None:
        """Draw for the last time."""
        if self.rows:
            self.draw()
        if self._board is not None:
            self._board.close()


def read_rows(path: Path) -> list[Row]:
    """Read the table; a last line that was cut short is left out."""
    if not path.is_file():
        return []
    rows: list[Row] = []
    with path.open(newline="") as file:
        for cells in csv.DictReader(file):
            if None in cells.values():
                break
            values = {name: float(text) if text else None for name, text in cells.items()}
            rows.append(Row(**values | {"step": int(cells["step"])}))  # type: ignore[arg-type]
    return rows


def line_of(row: Row) -> str:
    """Put a row in words."""
    parts = [f"step {row.step:>6}", f"epoch {row.epoch:.2f}", f"{row.minutes:.1f} min"]
    if row.loss is not None:
        parts.append(f"loss {row.loss:.3f}")
    if row.rate is not None:
        parts.append(f"rate {row.rate:.2e}")
    if row.times_real_time is not None:
        parts.append(f"{row.times_real_time:.1f} times real time")
    if row.wer is not None:
        parts.append(f"WER {100 * row.wer:.2f} %")
    return "  ".join(parts)


def _cells(row: Row) -> list[str]:
    return [_cell(value) for value in asdict(row).values()]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ProgressError(
            "run.tensorboard: the package tensorboard is not installed; install it, or set this to false"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
