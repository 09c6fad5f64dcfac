"""Ogg Opus for tests: streams written by libsndfile, and the same packets on other pages."""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from myna.server.ogg import FIRST, LAST, PacketReader, Page, PageReader, lace, write_page


def encoded(samples: NDArray[np.int16], rate_hz: int = 16_000) -> bytes:
    """One stream of the samples (n,) or (n, channels)."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="OGG", subtype="OPUS")
    return file.getvalue()


def decoded(stream: bytes) -> NDArray[np.int16]:
    """What libsndfile hears in the whole file, where that is 16 kHz mono."""
    samples = soundfile.read(io.BytesIO(stream), dtype="float32")[0]
    rounded: NDArray[np.int16] = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return rounded


def packets_of(stream: bytes) -> list[bytes]:
    reader = PacketReader()
    return [packet for page in PageReader().push(stream) for packet in reader.push(page)]


def one_packet_a_page(stream: bytes, head: bytes | None = None, serial: int = 7) -> bytes:
    """The same packets of 20 ms, each on a page of its own, without a stated end; perhaps with another head."""
    packets = packets_of(stream)
    packets[0] = head or packets[0]
    flags = [FIRST] + [0] * (len(packets) - 2) + [LAST]
    granules = [0, 0, *(960 * (i + 1) for i in range(len(packets) - 2))]
    pages = (
        Page(flag, granule, serial, index, lace(packet), packet)
        for index, (flag, granule, packet) in enumerate(zip(flags, granules, packets, strict=True))
    )
    return b"".join(write_page(page) for page in pages)
