"""The Ogg container: pages are checked, packets put together, and nothing else gets through."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.server.errors import AudioError
from myna.server.ogg import CONTINUED, FIRST, LAST, MAX_PACKET_BYTES, PacketReader, Page, PageReader, lace, write_page
from tests.server.opus_streams import encoded
from tests.server.speech import voice

PACKETS = [b"first", b"", bytes(range(256)) * 3, b"x" * 255, b"last"]
WHOLE = [
    Page(FIRST, 0, 5, 0, lace(PACKETS[0]) + lace(PACKETS[1]), PACKETS[0] + PACKETS[1]),
    Page(0, -1, 5, 1, b"\xff\xff", PACKETS[2][:510]),
    Page(CONTINUED, 1, 5, 2, lace(PACKETS[2][510:]) + lace(PACKETS[3]), PACKETS[2][510:] + PACKETS[3]),
    Page(LAST, 2, 5, 3, lace(PACKETS[4]), PACKETS[4]),
]


def read(pages: list[Page]) -> list[bytes]:
    reader = PacketReader()
    return [packet for page in pages for packet in reader.push(page)]


def test_the_checksum_is_oggs() -> None:
    stream = encoded(voice(1.0))
    assert b"".join(map(write_page, PageReader().push(stream))) == stream


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=20))
def test_pages_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    stream = b"".join(map(write_page, WHOLE))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = PageReader()
    assert [page for a, b in itertools.pairwise(edges) for page in reader.push(stream[a:b])] == WHOLE
    assert reader.held_bytes == 0


def test_packets_run_over_pages() -> None:
    assert read(WHOLE) == PACKETS


def test_a_packet_with_a_lost_part_is_left_out() -> None:
    assert read([WHOLE[0], *WHOLE[2:]]) == [*PACKETS[:2], *PACKETS[3:]]
    assert read([*WHOLE[:2], WHOLE[3]]) == [*PACKETS[:2], PACKETS[4]]


@pytest.mark.parametrize(
    ("pages", "reason"),
    [
        (WHOLE[1:], "lacks its beginning"),
        ([*WHOLE, WHOLE[0]], "more follows the end"),
        ([WHOLE[0], Page(FIRST, 0, 6, 0, b"", b"")], "several streams"),
        ([WHOLE[0], Page(0, 0, 6, 1, b"", b"")], "several streams"),
    ],
)
def test_one_stream_alone(pages: list[Page], reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        read(pages)


def test_a_packet_without_end_is_refused() -> None:
    flags = itertools.chain([FIRST], itertools.repeat(CONTINUED))
    pages = (Page(flag, -1, 5, index, b"\xff" * 255, bytes(65_025)) for index, flag in enumerate(flags))
    with pytest.raises(AudioError, match="longer than"):
        read(list(itertools.islice(pages, MAX_PACKET_BYTES // 65_025 + 1)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"RIFF", "no Ogg page"),
        (b"OggZ", "no Ogg page"),
        (write_page(WHOLE[0]) + b"\0", "no Ogg page"),
        (write_page(WHOLE[0])[:-1] + b"!", "damaged"),
    ],
)
def test_what_is_no_page_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        list(PageReader().push(data))
