"""One stream from its first packet to `done`: what all commands share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myna.client.files import RATE_HZ, packets
from myna.client.transcriber import AsyncTranscriber, Event
from myna.server.protocol import Done, Final, Start

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Service:
    """Where streams are answered."""

    url: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said."""

    finals: tuple[Final, ...]
    seconds: float

    @property
    def text(self) -> str:
        """All of it, a line for each utterance."""
        return "\n".join(final.text for final in self.finals if final.text)

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        segments = [
            final.model_dump(mode="json", include={"start", "end", "text", "confidence", "words"}, exclude_none=True)
            for final in self.finals
            if final.text
        ]
        text = " ".join(segment["text"] for segment in segments)
        return {"text": text, "seconds": self.seconds, "segments": segments}


async def converse(
    service: Service, start: Start, audio: AsyncIterator[bytes], show: Callable[[Event], None]
) -> Transcript:
    """Send audio and show what comes back, to the end. Raises Refused, Unreachable, and what `audio` raises."""
    finals: list[Final] = []
    seconds = 0.0
    async with AsyncTranscriber(service.url, start, service.token) as stream:
        sending = asyncio.create_task(_send(stream, audio))
        try:
            async for event in stream:
                show(event)
                if isinstance(event, Final):
                    finals.append(event)
                elif isinstance(event, Done):
                    seconds = event.audio_seconds
        except BaseException:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
            raise
        await sending
    return Transcript(tuple(finals), seconds)


async def file_audio(
    path: Path, paced: bool = False, sent: Callable[[float], None] | None = None
) -> AsyncIterator[bytes]:
    """Read a file for sending: as fast as it is taken, or `paced` as it was spoken; `sent` hears of the seconds."""
    async for packet in in_time(packets(path, 0.1)) if paced else _at_once(packets(path)):
        yield packet
        if sent:
            sent(len(packet) / SAMPLE_BYTES / RATE_HZ)


async def in_time(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield each packet when its last sample would have been spoken."""
    clock = asyncio.get_running_loop().time
    due_s = clock()
    for block in blocks:
        due_s += len(block) / SAMPLE_BYTES / RATE_HZ
        await asyncio.sleep(due_s - clock())
        yield block


async def _at_once(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def _send(stream: AsyncTranscriber, audio: AsyncIterator[bytes]) -> None:
    try:
        async for packet in audio:
            await stream.send(packet)
    finally:
        await stream.stop()
