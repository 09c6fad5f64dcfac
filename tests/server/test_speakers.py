"""Hot swap on a real server: a published version is used from the next utterance on, by its speaker alone."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from myna.adapt.store import Store, StoreError, Versions
from myna.models.adapter import layout_of
from myna.models.adapter_file import Adapter, adapter_bytes, read_adapter
from myna.models.bundle import STEP, read_bundle
from myna.server.protocol import Adaptation, Final, Ready
from myna.server.speakers import Speakers
from tests.adapt.store.disks import small_disk
from tests.adapt.store.test_speech import heard
from tests.server.clients import AUDIO, Running, connecting, hear, next_of, rest, say, serving, told, until
from tests.support import TINY

BUNDLE = read_bundle(TINY)
BASE = BUNDLE.manifest.sha256[STEP]
SPEC = BUNDLE.spec


def content(seed: int, base: str = BASE) -> bytes:
    """Make an adapter that is clearly heard."""
    rng, layout = np.random.default_rng(seed), layout_of(SPEC)
    parts = {}
    for block in range(SPEC.blocks):
        for slot in layout.maps:
            down, up = (slot.inputs.stop - slot.inputs.start, 2), (2, slot.outputs.stop - slot.outputs.start)
            parts[f"{slot.name}.{block}.down"] = (0.3 * rng.standard_normal(down)).astype(np.float16)
            parts[f"{slot.name}.{block}.up"] = (0.3 * rng.standard_normal(up)).astype(np.float16)
    return adapter_bytes(Adapter(base, parts))


def coming(running: Running) -> Callable[[], Awaitable[set[str]]]:
    """What a server's streams will use from their next utterance on."""

    async def versions() -> set[str]:
        voices = [stream._session._personal._coming for stream in running.server.streams]
        return {voice.name.version for voice in voices if voice}

    return versions


def resident_bytes(speakers: Speakers) -> Callable[[], Awaitable[int]]:
    """What adapters take; threads and tasks let go of what they handed over a little later."""

    async def count() -> int:
        return speakers.resident_bytes

    return count


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = Store(tmp_path)
    for speaker in ("anna", "ben"):
        store.keep(speaker, heard(len(speaker)))
    return tmp_path


@pytest.fixture
def versions(data: Path) -> Versions:
    return Versions(Store(data))


@pytest.fixture
def running(data: Path) -> Iterator[Running]:
    with serving(data_dir=str(data)) as running:
        yield running


async def test_a_speaker_is_heard_with_their_weights(running: Running, versions: Versions, data: Path) -> None:
    base = await hear(running.url)
    version = versions.publish("anna", content(0), "tiny 1", {})
    messages = await hear(running.url, speaker="anna")
    ready = next(m for m in messages if isinstance(m, Ready))
    finals = [m for m in messages if isinstance(m, Final)]
    names = [name and (name.speaker, name.version) for name in (ready.adapter, *(f.adapter for f in finals))]
    assert names == [("anna", version)] * 4
    assert [f.text for f in finals] != [m.text for m in base if isinstance(m, Final)]
    assert not any(isinstance(m, Adaptation) for m in messages)
    await hear(running.url, speaker="anna", collect=True)

    async def kept() -> set[str | None]:
        return {one.adapter for one in Store(data).utterances("anna")[1:]}

    await until(kept, {version})
    other = await hear(running.url, speaker="ben")
    assert told(other) == told(base)


async def test_an_open_stream_follows_from_its_next_utterance_on(running: Running, versions: Versions) -> None:
    first, second = (versions.publish("anna", content(seed), "tiny 1", {}) for seed in (1, 2))
    expected = {second: told(await hear(running.url, speaker="anna"))}
    versions.roll_back("anna")
    expected[first] = told(await hear(running.url, speaker="anna"))
    async with connecting(running.url) as socket:
        await say(socket, "start", speaker="anna")
        await socket.send(AUDIO[:40_000])  # in the first utterance
        await next_of(socket, "speech_started")
        versions.roll_back("anna", second)
        await until(coming(running), {second})
        await socket.send(AUDIO[40_000:])
        await say(socket, "stop")
        messages, _ = await rest(socket)
    finals = [m for m in messages if isinstance(m, Final)]
    assert [f.adapter and f.adapter.version for f in finals] == [first, second, second]
    (swapped,) = (m for m in messages if isinstance(m, Adaptation))
    assert (swapped.event, swapped.speaker, swapped.version) == ("swapped", "anna", second)
    order = [m.type for m in messages if m.type in ("adaptation", "final", "speech_started")]
    assert order == ["final", "adaptation", "speech_started", "final", "speech_started", "final"]
    assert [f.text for f in finals] == [
        expected[version][i]["text"] for i, version in enumerate((first, second, second))
    ]


async def test_two_servers_on_one_store(running: Running, versions: Versions, data: Path) -> None:
    first, second = (versions.publish("anna", content(seed), "tiny 1", {}) for seed in (1, 2))
    versions.roll_back("anna")
    with serving(data_dir=str(data)) as neighbour:
        async with AsyncExitStack() as stack:
            both = {each: await stack.enter_async_context(connecting(each.url)) for each in (running, neighbour)}
            for socket in both.values():
                await say(socket, "start", speaker="anna", collect=True)
                await socket.send(AUDIO[:40_000])  # in the first utterance
                await next_of(socket, "speech_started")
            versions.roll_back("anna", second)
            for server, socket in both.items():
                await until(coming(server), {second})
                await socket.send(AUDIO[40_000:])
                await say(socket, "stop")
                messages, code = await rest(socket)
                assert code == 1000
                used = [m.adapter and m.adapter.version for m in messages if isinstance(m, Final)]
                assert used == [first, second, second]

        async def kept() -> list[str]:
            return sorted(one.adapter or "" for one in Store(data).utterances("anna")[1:])

        await until(kept, sorted(2 * [first] + 4 * [second]))


async def test_a_full_disk_stops_learning_and_not_listening(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        data = disk.folder / "data"
        versions = Versions(Store(data))
        versions._store.keep("anna", heard(0))
        first = versions.publish("anna", content(1), "tiny 1", {})
        with serving(data_dir=str(data)) as running:
            expected = told(await hear(running.url, speaker="anna"))
            async with connecting(running.url) as socket:
                await say(socket, "start", speaker="anna", collect=True)
                await socket.send(AUDIO[:40_000])
                await next_of(socket, "speech_started")
                disk.fill(0)
                with pytest.raises(StoreError, match="is the disk full"):
                    versions.publish("anna", content(2), "tiny 1", {})
                assert told(await hear(running.url, speaker="anna", collect=True)) == expected
                disk.empty()
                second = versions.publish("anna", content(2), "tiny 1", {})
                await until(coming(running), {second})
                await socket.send(AUDIO[40_000:])
                await say(socket, "stop")
                messages, _ = await rest(socket)
        used = [m.adapter and m.adapter.version for m in messages if isinstance(m, Final)]
        assert used == [first, second, second]


async def test_a_batch_holds_different_speakers(running: Running, versions: Versions) -> None:
    for seed, speaker in enumerate(("anna", "ben")):
        versions.publish(speaker, content(seed), "tiny 1", {})
    speakers = ("anna", "ben", "carol")
    alone = [told(await hear(running.url, speaker=speaker)) for speaker in speakers]
    together = await asyncio.gather(*(hear(running.url, speaker=speaker) for speaker in speakers * 3))
    assert [told(messages) for messages in together] == alone * 3


@pytest.mark.parametrize("what", ["damaged", "of another base"])
async def test_what_cannot_be_used_is_said_and_the_base_answers(
    running: Running, versions: Versions, what: str
) -> None:
    base = told(await hear(running.url))
    if what == "damaged":
        versions.publish("anna", content(0), "tiny 1", {})
        used = versions.in_use("anna")
        assert used is not None
        used.path.write_bytes(content(1))
    else:
        versions.publish("anna", content(0, "ff" * 32), "tiny 2", {})
    messages = await hear(running.url, speaker="anna")
    (refused,) = (m for m in messages if isinstance(m, Adaptation))
    assert (refused.event, refused.version) == ("refused", None)
    assert refused.report is not None
    assert ("damaged" if what == "damaged" else "adapt again") in refused.report
    assert told(messages) == base


async def test_the_least_recently_used_is_dropped(data: Path, versions: Versions) -> None:
    file, packed = len(content(0)), read_adapter(content(0), SPEC, BASE).packed(SPEC).nbytes
    speakers = Speakers(data, SPEC, BASE, 2 * file + 3 * packed, lambda: ())
    for seed, speaker in enumerate(("anna", "ben")):
        versions.publish(speaker, content(seed), "tiny 1", {})
    store = Store(data)
    store.keep("carol", heard(77))
    versions.publish("carol", content(2), "tiny 1", {})
    found = [await speakers.find(speaker) for speaker in ("anna", "ben", "anna", "carol", "anna")]
    adapters = [one.voice.adapter for one in found if one.voice]
    assert len(adapters) == 5
    assert adapters[0] is adapters[2] is adapters[4]
    assert speakers.resident_bytes == 2 * file + 3 * packed
    for path in data.rglob("*.safetensors"):
        path.unlink()
    del found, adapters
    await until(resident_bytes(speakers), 2 * file)
    left = [bool((await speakers.find(speaker)).voice) for speaker in ("anna", "ben", "carol")]
    await speakers.close()
    assert left == [True, False, True]


async def test_what_nobody_uses_any_more_is_let_go(data: Path, versions: Versions) -> None:
    speakers = Speakers(data, SPEC, BASE, 10**9, lambda: ())
    file = len(content(0))
    for seed in range(3):
        versions.publish("anna", content(seed), "tiny 1", {})
        assert (await speakers.find("anna")).voice
    versions.publish("ben", content(9), "tiny 1", {})
    assert (await speakers.find("ben")).voice
    await until(resident_bytes(speakers), 2 * file)
    Store(data).forget("ben")
    await until(resident_bytes(speakers), file)
    await speakers.close()


async def test_without_a_store_there_is_the_base(tmp_path: Path) -> None:
    speakers = Speakers(tmp_path / "none", SPEC, BASE, 1_000, lambda: ())
    found = await speakers.find("anna")
    await speakers.close()
    assert (found.voice, found.problem) == (None, None)
    assert not (tmp_path / "none").exists()
