"""Finals as subtitles: cues of two short lines at most, broken at pauses, in SubRip or WebVTT."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from myna.server.protocol import Final, Word

LINE_CHARACTERS = 42
CUE_CHARACTERS = 2 * LINE_CHARACTERS
CUE_S = 6.0
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Cue:
    """Text on the screen for a while; seconds."""

    start: float
    end: float
    text: str


def cues(finals: Iterable[Final]) -> Iterator[Cue]:
    """Cut what was said into cues. A final without word times is one cue."""
    for final in finals:
        if not final.words:
            if final.text:
                yield Cue(final.start, final.end, _lines(final.text))
            continue
        group: list[Word] = []
        for word in final.words:
            if group and _full([*group, word]):
                yield _cue(group)
                group = []
            group.append(word)
        yield _cue(group)


def srt(finals: Iterable[Final]) -> str:
    """Write SubRip."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(finals), 1)
    )


def vtt(finals: Iterable[Final]) -> str:
    """Write WebVTT (https://www.w3.org/TR/webvtt1/)."""
    blocks = [f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{cue.text}\n" for cue in cues(finals)]
    return "\n".join(["WEBVTT\n", *blocks])


def _full(words: list[Word]) -> bool:
    characters = sum(len(word.word) + 1 for word in words) - 1
    pause_s = words[-1].start - words[-2].end
    return characters > CUE_CHARACTERS or words[-1].end - words[0].start > CUE_S or pause_s > PAUSE_S


def _cue(words: list[Word]) -> Cue:
    return Cue(words[0].start, words[-1].end, _lines(" ".join(word.word for word in words)))


def _lines(text: str) -> str:
    """Break a long text in two lines of about the same length."""
    if len(text) <= LINE_CHARACTERS:
        return text
    spaces = [i for i, character in enumerate(text) if character == " "]
    if not spaces:
        return text
    middle = min(spaces, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _clock(time_s: float, point: str) -> str:
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
