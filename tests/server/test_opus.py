"""Ogg Opus: the samples of libsndfile, as soon as a page is there; garbage is an error and nothing worse."""

import contextlib
import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.server.errors import AudioError
from myna.server.ogg import FIRST, LAST, Page, PageReader, lace, write_page
from myna.server.opus import OggOpusDecoder, packet_granules
from tests.server.opus_streams import decoded, encoded, one_packet_a_page, packets_of
from tests.server.speech import voice

VOICE = voice(2.5)
STREAM = encoded(VOICE)
HEAD = packets_of(STREAM)[0]
TAGS = b"OpusTags" + bytes(8)


def stream_of(*packets: bytes) -> bytes:
    flags = [FIRST] + [0] * (len(packets) - 1)
    return b"".join(
        write_page(Page(flag, 0, 7, index, lace(packet), packet))
        for index, (flag, packet) in enumerate(zip(flags, packets, strict=True))
    )


def test_equals_libsndfile_to_the_bit() -> None:
    np.testing.assert_array_equal(OggOpusDecoder().decode(STREAM), decoded(STREAM))


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_stream_becomes_16_khz_mono(rate_hz: int, channels: int) -> None:
    time_s = np.arange(2 * rate_hz) / rate_hz
    tone = (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
    found = OggOpusDecoder().decode(encoded(np.stack([tone] * channels, axis=1), rate_hz))
    wanted = 8_000 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    assert abs(len(found) - 32_000) <= 1
    error = found[1_000:31_000] - wanted[1_000:31_000]  # the edges ring
    assert np.sqrt(np.mean(error**2)) < 500  # it is a lossy codec


def test_samples_come_with_their_page() -> None:
    decoder, heard, ended = OggOpusDecoder(), 0, 0
    pre_skip = struct.unpack_from("<H", HEAD, 10)[0]
    for page in PageReader().push(STREAM):
        data = write_page(page)
        assert len(decoder.decode(data[:-1])) == 0
        assert decoder.leftover_bytes == len(data) - 1
        heard += len(decoder.decode(data[-1:]))
        ended = page.granule
        assert heard == max(0, ended - pre_skip) // 3
    assert heard == len(VOICE)
    assert len(decoder.flush()) == decoder.leftover_bytes == 0


def test_pages_of_one_packet_change_nothing_but_the_end() -> None:
    found = OggOpusDecoder().decode(one_packet_a_page(STREAM))
    np.testing.assert_array_equal(found[: len(VOICE)], decoded(STREAM))
    assert len(VOICE) <= len(found) < len(VOICE) + 320


def test_a_recording_may_begin_late() -> None:
    """Pages of a live stream keep their positions: only differences count."""
    pages = list(PageReader().push(STREAM))
    later = [
        Page(p.flags, p.granule + 48_000 * 3_600 if i > 1 else 0, p.serial, p.sequence, p.lacing, p.body)
        for i, p in enumerate(pages)
    ]
    np.testing.assert_array_equal(OggOpusDecoder().decode(b"".join(map(write_page, later))), decoded(STREAM))


def test_the_gain_is_applied() -> None:
    louder = HEAD[:16] + struct.pack("<h", 6 * 256) + HEAD[18:]
    plain, loud = (OggOpusDecoder().decode(one_packet_a_page(STREAM, head)) for head in (HEAD, louder))
    assert np.std(loud) / np.std(plain) == pytest.approx(10 ** (6 / 20), rel=1e-3)


def test_memory_does_not_grow() -> None:
    decoder = OggOpusDecoder()
    _, _, *packets = packets_of(STREAM)
    decoder.decode(stream_of(HEAD, TAGS))
    tracemalloc.start()
    try:
        early = 0
        for index in range(2_000):
            packet = packets[index % len(packets)]
            decoder.decode(write_page(Page(0, 960 * (index + 1), 7, index + 2, lace(packet), packet)))
            if index == 200:
                early = tracemalloc.get_traced_memory()[0]
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 10_000


@pytest.mark.parametrize(
    ("packet", "granules"),
    [(b"\x00", 480), (b"\x18", 2880), (b"\x80", 120), (b"\xf9", 1920), (b"\xfa", 1920), (b"\xfb\x06", 5760)],
)
def test_packet_durations(packet: bytes, granules: int) -> None:
    assert packet_granules(packet) == granules


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: stream_of(b"\x01vorbis" + bytes(30)), "no Opus"),
        (lambda: stream_of(HEAD[:12]), "no Opus"),
        (
            lambda: stream_of(HEAD[:9] + b"\x06" + HEAD[10:18] + b"\x01\x04\x02\x00\x04\x01\x02\x03\x05"),
            "mono or stereo",
        ),
        (lambda: stream_of(HEAD, b"\xfc" + bytes(20)), "OpusTags"),
        (lambda: stream_of(HEAD, TAGS, b"\xfb"), "impossible length"),
        (lambda: stream_of(HEAD, TAGS, b"\xfb\x00"), "impossible duration"),
        (lambda: stream_of(HEAD, TAGS, b"\xfb\x3f"), "impossible duration"),
        (lambda: stream_of(HEAD, TAGS, b"\xf9" + bytes(3)), "can't be decoded"),
        (lambda: STREAM + STREAM, "more follows the end"),
        (lambda: bytes(VOICE), "no Ogg page"),
    ],
)
def test_what_is_no_opus_is_refused(data: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        OggOpusDecoder().decode(data())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_end_in_an_error_or_in_samples(data: st.DataObject) -> None:
    stream = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(stream)))
        stream[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
    decoder = OggOpusDecoder()
    with contextlib.suppress(AudioError):
        assert len(decoder.decode(bytes(stream))) <= len(VOICE)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=20), st.integers(-1, 60_000), st.integers(0, 2_000))
def test_any_packets_end_in_an_error_or_in_samples(packets: list[bytes], granule: int, cut: int) -> None:
    """With right checksums, so that it is libopus that meets the garbage; and the same for any cut."""
    *first, last = (lace(packet) for packet in packets)
    pages = [Page(0, 960, 7, index + 2, lacing, packets[index]) for index, lacing in enumerate(first)]
    end = Page(LAST, granule, 7, len(packets) + 1, last, packets[-1])
    data = stream_of(HEAD, TAGS) + b"".join(map(write_page, [*pages, end]))
    outcomes: list[list[int] | None] = []
    for parts in ([data], [data[:cut], data[cut:]]):
        decoder = OggOpusDecoder()
        try:
            outcomes.append(np.concatenate([decoder.decode(part) for part in parts]).tolist())
        except AudioError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]
    if outcomes[0] is not None:
        assert len(outcomes[0]) <= sum(packet_granules(packet) // 3 for packet in packets if packet)
