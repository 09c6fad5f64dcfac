"""Figures of a run: a table that survives, a picture, lines."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("matplotlib", reason="needs the extra `adapt`")

from myna.adapt.progress import PICTURE, TABLE, Progress, ProgressError, Row, line_of, read_rows

ROWS = [
    Row(0, 0.0, 0.0, wer=0.75),
    Row(20, 0.5, 1.5, 3e-05, 2.5, 20.5),
    Row(40, 1.0, 3.0, 2e-05, 1.5, 21.0, 0.5),
]


def test_rows_are_written_at_once_and_read_back(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "new")
    for number, row in enumerate(ROWS, 1):
        progress.add(row)
        assert read_rows(tmp_path / "new" / TABLE) == ROWS[:number]


def test_a_resumed_run_loses_what_was_after_its_checkpoint(tmp_path: Path) -> None:
    first = Progress(tmp_path)
    for row in ROWS:
        first.add(row)
    with (tmp_path / TABLE).open("a") as file:
        file.write("60,1.")  # cut short
    assert Progress(tmp_path, step=20).rows == ROWS[:2] == read_rows(tmp_path / TABLE)
    assert Progress(tmp_path).rows == [] == read_rows(tmp_path / TABLE)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.close()
    assert not (tmp_path / PICTURE).exists()
    for row in ROWS:
        progress.add(row)
    progress.close()
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_lines(tmp_path: Path) -> None:
    said = io.StringIO()
    Progress(tmp_path, console=Console(file=said, width=40)).add(ROWS[2])
    assert said.getvalue() == line_of(ROWS[2]) + "\n"
    assert "loss 1.500" in line_of(ROWS[2])
    assert "WER 50.00 %" in line_of(ROWS[2])
    assert "WER" not in line_of(ROWS[1])


def test_a_missing_tensorboard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ProgressError, match="tensorboard is not installed"):
        Progress(tmp_path, tensorboard=True)
