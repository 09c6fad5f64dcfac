"""Versions: published whole or not at all, rolled back, refused with a reason, seen by other processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from myna.adapt.store import Store, StoreError, Versions
from tests.adapt.store.disks import small_disk
from tests.adapt.store.test_speech import Clock, heard, traces

PUBLISHER = """
import sys
from pathlib import Path
from myna.adapt.store import Store, Versions
versions = Versions(Store(Path(sys.argv[1])))
for i in range(10_000):
    print(versions.publish("anna", b"adapter %d" % i * 1000, "tiny 1", {"number": i}), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "data", clock=Clock())
    store.keep("anna", heard(0))
    return store


@pytest.fixture
def versions(store: Store) -> Versions:
    return Versions(store)


def test_the_last_one_published_is_in_use(versions: Versions) -> None:
    assert versions.in_use("anna") is None
    first = versions.publish("anna", b"one", "tiny 1", {"wer": 0.3})
    second = versions.publish("anna", b"two", "tiny 1", {"wer": 0.2})
    used = versions.in_use("anna")
    assert used is not None
    assert (used.version, used.content()) == (second, b"two")
    versions.refuse("anna", "It was no better on what you said before.", "tiny 1", {"wer": 0.4})
    found = versions.versions("anna")
    assert [(one.version, one.in_use) for one in found] == [(first, False), (second, True), (None, False)]
    assert found[2].reason == "It was no better on what you said before."
    assert [one.report["wer"] for one in found] == [0.3, 0.2, 0.4]
    assert versions.in_use("ben") is None
    assert versions.all_in_use() == {"anna": second}


def test_rolling_back_goes_to_the_one_before_and_then_to_the_base(versions: Versions) -> None:
    names = [versions.publish("anna", content, "tiny 1", {}) for content in (b"1", b"2", b"3")]
    assert versions.roll_back("anna") == names[1]
    assert versions.roll_back("anna", names[2]) == names[2]
    assert [versions.roll_back("anna") for _ in range(3)] == [names[1], names[0], None]
    assert versions.in_use("anna") is None
    assert versions.all_in_use() == {}
    with pytest.raises(StoreError, match="nothing is in use"):
        versions.roll_back("anna")
    with pytest.raises(StoreError, match="no version ff"):
        versions.roll_back("anna", "ff")


def test_the_same_content_again_is_the_same_version(versions: Versions) -> None:
    assert versions.publish("anna", b"1", "tiny 1", {"n": 1}) == versions.publish("anna", b"1", "tiny 1", {"n": 2})
    assert [one.report["n"] for one in versions.versions("anna")] == [2]


def test_what_is_damaged_is_not_used(versions: Versions) -> None:
    versions.publish("anna", b"one", "tiny 1", {})
    used = versions.in_use("anna")
    assert used is not None
    used.path.write_bytes(b"other")
    with pytest.raises(StoreError, match="is damaged"):
        used.content()
    used.path.unlink()
    with pytest.raises(StoreError, match="can't be read"):
        used.content()


def test_a_speaker_who_is_forgotten_gets_nothing(store: Store, versions: Versions) -> None:
    version = versions.publish("anna", b"what was learnt", "tiny 1", {"text": "a secret"})
    store.forget("anna")
    assert traces(store.folder, b"what was learnt", b"a secret", version.encode()) == []
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        versions.publish("anna", b"one", "tiny 1", {})
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        versions.refuse("anna", "It was no better.", "tiny 1", {})
    assert versions.versions("anna") == []
    assert not list(store.folder.rglob("*.safetensors"))


def test_who_comes_back_gets_nothing_of_what_was_learnt_before(store: Store, versions: Versions) -> None:
    folder = store.folder_of("anna")
    store.forget("anna")
    store.keep("anna", heard(1))
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        versions.publish("anna", b"one", "tiny 1", {}, folder)
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        versions.refuse("anna", "It was no better.", "tiny 1", {}, folder)
    assert versions.versions("anna") == []
    assert list((store.folder / "speakers").iterdir()) == [store.folder_of("anna")]


def test_what_a_kill_left_half_written_is_swept_away(store: Store, versions: Versions) -> None:
    names = [versions.publish("anna", content, "tiny 1", {}) for content in (b"one", b"two")]
    used = versions.in_use("anna")
    assert used is not None
    for name in ("tmp.part", "unknown.safetensors"):
        (used.path.parent / name).write_bytes(b"half")
        os.utime(used.path.parent / name, (0, 0))
    for name in names:
        os.utime(used.path.parent / f"{name}.safetensors", (0, 0))
    assert store.sweep() == 2
    assert {path.stem for path in used.path.parent.iterdir()} == set(names)
    assert store.sweep() == 0


def test_another_process_sees_it(store: Store, versions: Versions) -> None:
    other = Versions(Store(store.folder))
    before = other.changed()
    assert other.changed() == before
    versions.publish("anna", b"one", "tiny 1", {})
    assert other.changed() != before
    used = other.in_use("anna")
    assert used is not None
    assert used.content() == b"one"


def test_a_kill_leaves_a_whole_version_in_use(store: Store, versions: Versions) -> None:
    command = [sys.executable, "-c", PUBLISHER, str(store.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = [process.stdout.readline().strip() for _ in range(12)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.read().split()
    process.wait()
    found = [one.version for one in versions.versions("anna")]
    assert set(said[:12]) <= set(found)
    used = versions.in_use("anna")
    assert used is not None
    assert used.version == found[-1]
    assert used.content()


@pytest.mark.parametrize("left_bytes", [0, 8 << 10, 24 << 10], ids=["nothing fits", "half a file", "all but its row"])
def test_a_full_disk_leaves_the_version_in_use(tmp_path: Path, left_bytes: int) -> None:
    content, report = b"adapter " * 2_500, {"text": "said " * 10_000}
    with small_disk(tmp_path / "disk") as disk:
        store = Store(disk.folder / "data")
        store.keep("anna", heard(0))
        versions, other = Versions(store), Versions(Store(store.folder))
        first = versions.publish("anna", b"one", "tiny 1", {})
        disk.fill(left_bytes)
        with pytest.raises(StoreError, match="is the disk full"):
            versions.publish("anna", content, "tiny 1", report)
        for process in (versions, other):
            used = process.in_use("anna")
            assert used is not None
            assert (used.version, used.content()) == (first, b"one")
            assert [one.version for one in process.versions("anna")] == [first]
        assert [path.name for path in store.folder.rglob("adapters/*")] == [f"{first}.safetensors"]
        disk.empty()
        second = versions.publish("anna", content, "tiny 1", report)
        used = other.in_use("anna")
        assert used is not None
        assert (used.version, used.content()) == (second, content)
        for each in (store, other._store):
            each.close()
