"""The Ogg container (RFC 3533), streaming: bytes in, checked pages and the packets of one logical stream out."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from myna.server.errors import AudioError

MAX_PACKET_BYTES = 1 << 20  # a comment packet may hold a picture
CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
_HEADER = struct.Struct("<4sBBqIIIB")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of one logical stream."""

    flags: int
    granule: int  # position at the end of the page's last packet; -1 where none ends
    serial: int
    sequence: int
    lacing: bytes
    body: bytes


def checksum(page: bytes) -> int:
    """CRC-32 of a page whose checksum field is zero: Ogg's bits run the other way round than zlib's."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def write_page(page: Page) -> bytes:
    """Lay a page out in bytes."""
    fields = (b"OggS", 0, page.flags, page.granule, page.serial, page.sequence)
    tail = page.lacing + page.body
    crc = checksum(_HEADER.pack(*fields, 0, len(page.lacing)) + tail)
    return _HEADER.pack(*fields, crc, len(page.lacing)) + tail


def lace(packet: bytes) -> bytes:
    """Lacing values of one whole packet."""
    return bytes([255] * (len(packet) // 255) + [len(packet) % 255])


class PageReader:
    """Bytes in, whole pages out."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def held_bytes(self) -> int:
        """Bytes of a page that is not complete."""
        return len(self._held)

    def push(self, data: bytes) -> Iterator[Page]:
        """Take bytes; give the pages that are complete. Raises AudioError for what is no Ogg."""
        self._held += data
        while (size := self._page_bytes()) is not None:
            page = bytes(self._held[:size])
            del self._held[:size]
            yield _parsed(page)

    def _page_bytes(self) -> int | None:
        """Length of the first page, if all of it is here."""
        if not b"OggS".startswith(self._held[:4]):
            raise AudioError("audio: no Ogg page where one should begin; is audio.encoding right?")
        if len(self._held) < _HEADER.size:
            return None
        size = _HEADER.size + self._held[_HEADER.size - 1]
        if len(self._held) < size:
            return None
        size += sum(self._held[_HEADER.size : size])
        return size if len(self._held) >= size else None


def _parsed(page: bytes) -> Page:
    _, version, flags, granule, serial, sequence, crc, segments = _HEADER.unpack_from(page)
    if checksum(page[:22] + bytes(4) + page[26:]) != crc:
        raise AudioError("audio: an Ogg page is damaged (its checksum does not fit)")
    if version != 0:
        raise AudioError(f"audio: Ogg version {version} is not known; send version 0")
    tail = _HEADER.size + segments
    return Page(flags, granule, serial, sequence, page[_HEADER.size : tail], page[tail:])


class PacketReader:
    """Pages of one logical stream in, whole packets out."""

    def __init__(self) -> None:
        self._part: bytes | None = None  # of a packet that goes on on the next page
        self._serial = self._next_sequence = 0
        self._begun = self._ended = False

    def push(self, page: Page) -> list[bytes]:
        """Take a page; give the packets that end on it. Raises AudioError for streams side by side or in a row."""
        self._check(page)
        if page.sequence != self._next_sequence:
            self._part = None
        self._next_sequence = (page.sequence + 1) & 0xFFFFFFFF
        part = self._part if page.flags & CONTINUED else b""  # None: the packet's beginning is lost
        packets: list[bytes] = []
        begin = end = 0
        for length in page.lacing:
            end += length
            if length < 255:
                packets += [part + page.body[begin:end]] if part is not None else []
                part, begin = b"", end
        self._part = part + page.body[begin:] if part is not None and page.lacing.endswith(b"\xff") else None
        if self._part and len(self._part) > MAX_PACKET_BYTES:
            raise AudioError(f"audio: an Ogg packet is longer than {MAX_PACKET_BYTES} bytes")
        return packets

    def _check(self, page: Page) -> None:
        if self._ended:
            raise AudioError("audio: more follows the end of the Ogg stream; send each in a connection of its own")
        if not self._begun:
            if not page.flags & FIRST:
                raise AudioError("audio: the Ogg stream lacks its beginning; send it from its first page on")
            self._begun, self._serial, self._next_sequence = True, page.serial, page.sequence
        elif page.flags & FIRST or page.serial != self._serial:
            raise AudioError("audio: several streams in one Ogg file; send one Opus stream alone")
        self._ended = bool(page.flags & LAST)
