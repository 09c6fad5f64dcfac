"""Ogg Opus (RFC 7845) to 16 kHz mono samples, streaming; samples come with the page that completes their packet.

The packets are decoded by the libsndfile in soundfile's wheel, which is needed anyway and exists for every platform,
where libopus by itself comes in no well kept wheel and PyAV would add 36 MB. libsndfile wants a file, so it is shown
one without end: pages written anew from the packets (16 kHz, one channel, no pre-skip), and far behind them a last
page, by which it learns the length. Just as many samples are read as the packets at hand hold, so it never looks for
more than is there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from myna.server.errors import AudioError
from myna.server.ogg import FIRST, LAST, PacketReader, Page, PageReader, lace, write_page

RATE_HZ = 16_000
GRANULES_PER_SAMPLE = 3  # Ogg Opus counts positions, its granules, at 48 kHz
MAX_AUDIO_PACKET_BYTES = 61_298  # 48 frames of 1275 bytes and their lengths
MAX_PACKET_GRANULES = 5_760  # 120 ms
# Duration of one frame by the packet's configuration number (RFC 6716, table 2).
_FRAME_GRANULES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


@dataclass(frozen=True, slots=True)
class OpusHead:
    """What the first packet says."""

    pre_skip: int  # granules that are not to be heard
    gain: int  # dB in 1/256

    @classmethod
    def parse(cls, packet: bytes) -> "OpusHead":
        """Read the identification header (RFC 7845, 5.1). Raises AudioError."""
        if len(packet) < 19 or not packet.startswith(b"OpusHead"):
            raise AudioError("audio: the Ogg stream holds no Opus; send Opus or announce another audio.encoding")
        version, channels, pre_skip, _, gain, mapping = struct.unpack_from("<BBHIhB", packet, 8)
        if version > 15 or mapping != 0 or channels not in (1, 2):
            raise AudioError(
                f"audio: Opus of version {version} with {channels} channels, mapping {mapping}: send mono or stereo"
            )
        return cls(pre_skip, gain)

    def packet(self) -> bytes:
        """Write the header of a 16 kHz mono stream with the same gain and without pre-skip."""
        return b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, RATE_HZ, self.gain, 0)


def packet_granules(packet: bytes) -> int:
    """Duration of an Opus packet in granules (RFC 6716, 3.1). Raises AudioError where it can't be."""
    code = packet[0] & 3
    if (code == 3 and len(packet) < 2) or len(packet) > MAX_AUDIO_PACKET_BYTES:
        raise AudioError("audio: an Opus packet has an impossible length")
    frames = (1, 2, 2)[code] if code < 3 else packet[1] & 63
    granules = frames * _FRAME_GRANULES[packet[0] >> 3]
    if not 0 < granules <= MAX_PACKET_GRANULES:
        raise AudioError("audio: an Opus packet has an impossible duration")
    return granules


class _EndlessFile:
    """What libsndfile reads: the pages so far, nothing, and the last page at the end of a very long file."""

    SIZE_BYTES = 1 << 40
    TAIL = bytes(1 << 16) + write_page(Page(LAST, 1 << 60, 0, 0, b"", b""))  # where libsndfile looks for the last page

    def __init__(self) -> None:
        self._pages = bytearray()
        self._pages_at = 0
        self._position = 0

    def append(self, page: bytes) -> None:
        """Add a page."""
        self._pages += page

    def forget(self) -> None:
        """Drop what was read; there is no way back."""
        read = self._position - self._pages_at
        del self._pages[:read]
        self._pages_at = self._position

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with what is there; return how many bytes that is."""
        in_tail = self._position - (self.SIZE_BYTES - len(self.TAIL))
        source, at = (self.TAIL, in_tail) if in_tail >= 0 else (self._pages, self._position - self._pages_at)
        data = source[at : at + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as io.IOBase.seek does."""
        self._position = offset + (0, self._position, self.SIZE_BYTES)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


class _ForwardOnly(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read to and fro no more: soundfile would seek behind every read."""

    def seekable(self) -> bool:
        return False


class _Packets:
    """Opus packets to samples at 16 kHz."""

    def __init__(self, head: OpusHead) -> None:
        self._file = _EndlessFile()
        self._sound: _ForwardOnly | None = None
        self._granule = self._sequence = 0
        self._append(FIRST, [head.packet()])
        self._append(0, [b"OpusTags" + bytes(8)])

    def decode(self, packets: list[bytes]) -> NDArray[np.float32]:
        """Decode one packet or more; return samples (n,) from -1 to 1. Raises AudioError."""
        began = self._granule
        for page in _paged(packets):
            self._granule += sum(map(packet_granules, page))
            self._append(0, page)
        wanted = (self._granule - began) // GRANULES_PER_SAMPLE
        try:
            if self._sound is None:
                self._sound = _ForwardOnly(self._file)
            samples: NDArray[np.float32] = self._sound.read(wanted, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise AudioError(f"audio: an Opus packet can't be decoded ({error})") from None
        self._file.forget()
        if len(samples) != wanted:
            raise AudioError("audio: an Opus packet holds less than it says")
        return samples

    def _append(self, flags: int, packets: list[bytes]) -> None:
        lacing, body = b"".join(map(lace, packets)), b"".join(packets)
        self._file.append(write_page(Page(flags, self._granule, 0, self._sequence, lacing, body)))
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF


def _paged(packets: list[bytes]) -> Iterator[list[bytes]]:
    """Share packets out to pages, which hold 255 lacing values at most."""
    page: list[bytes] = []
    room = 255
    for packet in packets:
        needed = len(packet) // 255 + 1
        if needed > room:
            yield page
            page, room = [], 255
        page.append(packet)
        room -= needed
    yield page


class OggOpusDecoder:
    """Ogg Opus, whatever rate and channels were announced: the stream carries its own."""

    def __init__(self) -> None:
        self._pages = PageReader()
        self._packets = PacketReader()
        self._opus: _Packets | None = None
        self._tagged = False
        self._skip = 0  # samples yet to be left out at the beginning
        self._granule = 0  # where the last page ended

    @property
    def leftover_bytes(self) -> int:
        """Bytes at the end that make no whole page."""
        return self._pages.held_bytes

    def decode(self, data: bytes) -> NDArray[np.int16]:
        """Take bytes; return samples (n,) of the pages that are complete. Raises AudioError."""
        packets: list[bytes] = []
        surplus = 0
        for page in self._pages.push(data):
            arrived = [packet for packet in self._without_headers(self._packets.push(page)) if packet]  # empty: silence
            surplus = self._surplus(page, sum(map(packet_granules, arrived)))
            packets += arrived
        if self._opus is None or not packets:
            return np.zeros(0, np.int16)
        samples = self._opus.decode(packets)
        skip = min(self._skip, len(samples))
        self._skip -= skip
        heard = np.rint(samples[skip : len(samples) - surplus] * np.float32(32768))
        rounded: NDArray[np.int16] = np.clip(heard, -32768, 32767).astype(np.int16)
        return rounded

    def flush(self) -> NDArray[np.int16]:
        """Return nothing: samples come with their page."""
        return np.zeros(0, np.int16)

    def _without_headers(self, packets: list[bytes]) -> list[bytes]:
        """Take the first two packets of the stream for what they are."""
        if packets and self._opus is None:
            head = OpusHead.parse(packets.pop(0))
            self._opus, self._skip = _Packets(head), head.pre_skip // GRANULES_PER_SAMPLE
        if packets and not self._tagged:
            if not packets.pop(0).startswith(b"OpusTags"):
                raise AudioError("audio: the Opus stream lacks its comment header (OpusTags)")
            self._tagged = True
        return packets

    def _surplus(self, page: Page, granules: int) -> int:
        """Note where the page ends; return how many samples the last page says it is shorter than its packets."""
        behind = self._granule + granules
        self._granule = page.granule if page.granule >= 0 else behind
        if not page.flags & LAST:
            return 0
        return min(max(0, behind - self._granule), granules) // GRANULES_PER_SAMPLE
