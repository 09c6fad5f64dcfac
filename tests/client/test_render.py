"""Captions: what is dim, what stays, what a pipe gets."""

import io

import pytest
from rich.console import Console

from myna.client.render import METER_CELLS, Captions, caption, meter
from myna.server.protocol import Final, Latency, Partial, SpeechStarted


def partial(text: str, stable: int) -> Partial:
    return Partial(utterance="0", text=text, stable_chars=stable, start=0, end=1)


def final(text: str) -> Final:
    latency = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)
    return Final(utterance="0", text=text, confidence=1, start=0, end=1, latency=latency)


def test_what_may_change_is_dim() -> None:
    text = caption(partial("hello wor", 5))
    assert text.plain == "hello wor"
    assert [(span.start, span.end, span.style) for span in text.spans] == [(5, 9, "dim")]


def show(terminal: bool) -> str:
    out = io.StringIO()
    with Captions(Console(file=out, force_terminal=terminal, width=60)) as captions:
        captions.show(SpeechStarted(utterance="0", time=0))
        captions.show(partial("hel", 0))
        captions.meter(-20)
        captions.show(partial("hello wo", 5))
        captions.show(final("hello [world]"))
        captions.show(final(""))
    return out.getvalue()


def test_a_pipe_gets_finals_alone_and_as_they_are() -> None:
    assert show(terminal=False) == "hello [world]\n"


def test_a_terminal_ends_with_the_finals() -> None:
    shown = show(terminal=True)
    assert "hello [world]\n" in shown
    assert shown.endswith("\x1b[2K")  # and the line of the meter is wiped


@pytest.mark.parametrize(("level", "cells"), [(-60, 0), (-30, METER_CELLS // 2), (0, METER_CELLS), (6, METER_CELLS)])
def test_the_meter(level: float, cells: int) -> None:
    assert meter(level).plain.count("█") == cells
