"""The store of utterances: durable, within quotas, forgotten without a trace."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.store import AlreadyKept, Heard, Quotas, Source, Store, StoreError
from myna.adapt.store.files import write_flac
from tests.server.speech import voice

SOURCES: tuple[Source, ...] = ("pseudo", "enrolled", "corrected")  # in the order of trust
KEEPER = """
import sys
from pathlib import Path
from myna.adapt.store import Store
from tests.adapt.store.test_speech import heard
store = Store(Path(sys.argv[1]))
for i in range(10_000):
    store.keep("anna", heard(i))
    print("kept", i, flush=True)
    store.correct("anna", "session", str(i), f"really {i}")
    print("corrected", i, flush=True)
"""


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


def heard(number: int, source: Source = "pseudo", text: str = "ba di", seconds: float = 0.2) -> Heard:
    return Heard(voice(seconds, seed=number % 7), text, 0.9, "session", str(number), "tiny 1", source=source)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", clock=Clock())


def test_what_is_kept_is_there_again(store: Store) -> None:
    given = heard(0)
    name = store.keep("anna", given)
    store.close()
    (kept,) = Store(store.folder).utterances("anna")
    assert (kept.id, kept.text, kept.heard, kept.source, kept.confidence) == (name, "ba di", "ba di", "pseudo", 0.9)
    assert (kept.consent, kept.model, kept.adapter, kept.seconds) == ("stream", "tiny 1", None, 0.2)
    np.testing.assert_array_equal(kept.samples(), given.samples)


def test_a_correction_is_trusted_and_what_was_heard_stays(store: Store) -> None:
    store.keep("anna", heard(0))
    store.correct("anna", "session", "0", "ga mu")
    (kept,) = store.utterances("anna")
    assert (kept.text, kept.heard, kept.source) == ("ga mu", "ba di", "corrected")
    for speaker, utterance in (("anna", "1"), ("ben", "0")):
        with pytest.raises(StoreError, match="was not kept"):
            store.correct(speaker, "session", utterance, "x")
    with pytest.raises(AlreadyKept, match="can't be kept"):
        store.keep("anna", heard(0))  # the same utterance again
    assert len(list(store.folder.rglob("*.flac"))) == 1


@pytest.mark.parametrize(
    "name", ["../../etc", "/", "a/b", "👋" * 50, "ünï", ".", "con", "a" * 200, "'; DROP TABLE x; --"]
)
def test_any_name_is_a_name(store: Store, name: str) -> None:
    store.keep(name, heard(0))
    assert [summary.name for summary in store.speakers()] == [name]
    assert len(store.utterances(name)) == 1
    inside = [path.relative_to(store.folder).parts for path in store.folder.rglob("*")]
    assert all((part.isascii() and name not in ("a/b",)) or part for parts in inside for part in parts)
    assert {path.parent.parent.parent for path in store.folder.rglob("*.flac")} == {store.folder / "speakers"}


@pytest.mark.parametrize("name", ["", "a" * 10_000, "a\0b", "a\udcff"], ids=range(4))
def test_no_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="speaker: must be 1 to 200"):
        store.keep(name, heard(0))
    assert store.speakers() == []


def test_what_was_enrolled_was_heard_by_no_model(store: Store) -> None:
    store.keep("anna", heard(0, "enrolled"))
    (kept,) = store.utterances("anna")
    assert (kept.text, kept.heard, kept.source) == ("ba di", "", "enrolled")


def test_over_a_quota_the_least_trusted_and_oldest_go(tmp_path: Path) -> None:
    store = Store(tmp_path, Quotas(max_utterances=3), Clock())
    sources: list[Source] = ["corrected", "pseudo", "enrolled", "pseudo", "corrected"]
    for number, source in enumerate(sources):
        store.keep("anna", heard(number, source))
    assert [kept.source for kept in store.utterances("anna")] == ["corrected", "enrolled", "corrected"]
    store.keep("ben", heard(9))  # quotas are each speaker's own
    assert len(list(tmp_path.rglob("*.flac"))) == 4


def test_quotas_of_bytes_and_age(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, Quotas(max_bytes=9_000, max_age_s=500), clock)
    for number in range(6):
        store.keep("anna", heard(number, "corrected"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.flac")) <= 9_000
    assert store.utterances("anna")
    clock.now_s += 1_000
    store.keep("anna", heard(6))
    assert len(store.utterances("anna")) == 1


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SOURCES), st.sampled_from((0.1, 0.2, 0.4)), st.integers(0, 300)), max_size=8),
    st.integers(1, 5),
    st.integers(1_000, 20_000),
)
def test_what_is_left_is_the_best(said: list[tuple[Source, float, int]], most: int, most_bytes: int) -> None:
    """The most trusted, of those the newest, as many as quotas allow; and files' sizes are not asked for again."""
    with TemporaryDirectory() as folder:
        clock, left = Clock(), list[tuple[int, float, int, str]]()
        store = Store(Path(folder), Quotas(most, most_bytes, max_age_s=500), clock)
        for number, (source, seconds, pause_s) in enumerate(said):
            clock.now_s += pause_s
            one = heard(number, source, str(number), seconds)
            size = write_flac(Path(folder) / "other.flac", one.samples)
            store.keep("anna", one)
            left = sorted([*left, (SOURCES.index(source), clock.now_s - 2, size, one.text)], reverse=True)
            left = [each for each in left if each[1] >= clock.now_s - 500][:most]
            while sum(each[2] for each in left) > most_bytes:
                left.pop()
            kept = store.utterances("anna")
            assert {each.text for each in kept} == {each[3] for each in left}
            for each in kept:
                each.audio.write_bytes(b"")


def test_summary_and_export(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        store.keep("anna", heard(number))
    store.correct("anna", "session", "1", "really")
    (summary,) = store.speakers()
    assert (summary.name, summary.utterances, summary.corrected) == ("anna", 3, 1)
    assert summary.seconds == pytest.approx(0.6)
    assert summary.bytes == sum(path.stat().st_size for path in store.folder.rglob("*.flac"))
    assert store.export("anna", tmp_path / "out") == 3
    rows = [json.loads(line) for line in (tmp_path / "out/utterances.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == ["ba di", "really", "ba di"]
    assert all(len(soundfile.read(tmp_path / "out" / row["audio"])[0]) == 3_200 for row in rows)
    with pytest.raises(StoreError, match="nothing is kept"):
        store.export("ben", tmp_path / "other")


def test_forgetting_leaves_no_trace(store: Store) -> None:
    for number in range(30):
        store.keep("Annabella Quux", heard(number, text="a secret sentence"))
        store.keep("ben", heard(100 + number, text="something else"))
    store.correct("Annabella Quux", "session", "3", "another whispered thing")
    kept = store.utterances("Annabella Quux")
    sounds = [one.audio.read_bytes()[100:160] for one in kept[:5]]
    assert traces(store.folder, *sounds, b"Annabella Quux", b"a secret sentence", b"whispered", kept[0].id.encode())
    assert store.forget("Annabella Quux")
    # ben's recordings are the same made voices
    for one in store.utterances("ben"):
        one.audio.unlink()
    left = traces(store.folder, *sounds, b"Annabella Quux", b"a secret sentence", b"whispered", kept[0].id.encode())
    assert left == []
    assert len(store.utterances("ben")) == 30
    assert not store.forget("Annabella Quux")


def test_what_is_kept_of_somebody_just_forgotten_leaves_no_folder(tmp_path: Path) -> None:
    class Hasty(Store):
        def _made(self, speaker: str) -> Path:
            folder = super()._made(speaker)
            self.forget(speaker)
            return folder

    store = Hasty(tmp_path)
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        store.keep("anna", heard(0))
    assert list((tmp_path / "speakers").iterdir()) == []


def traces(folder: Path, *needles: bytes) -> list[str]:
    """Name the files that hold any of these bytes, or are named so."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(n in path.read_bytes() or n in str(path).encode() for n in needles)]


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KEEPER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = [process.stdout.readline().split() for _ in range(25)]
    os.kill(process.pid, signal.SIGKILL)
    said += [line.split() for line in process.stdout.read().splitlines()]
    process.wait()
    store = Store(tmp_path)
    kept = store.utterances("anna")
    texts = [one.text for one in kept]
    assert all(f"really {number}" in texts for word, number in said if word == "corrected")
    assert len(kept) >= sum(word == "kept" for word, _ in said)
    for one in kept:
        assert len(one.samples()) == 3_200
    for path in tmp_path.rglob("*.part"):
        os.utime(path, (0, 0))
    store.sweep()
    assert len(list(tmp_path.rglob("*.flac"))) == len(kept)
    assert not list(tmp_path.rglob("*.part"))


def test_two_stores_on_one_folder(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    for number in range(10):
        (one, other)[number % 2].keep("anna", heard(number))
    assert len(one.utterances("anna")) == len(other.utterances("anna")) == 10
    other.forget("anna")
    assert one.utterances("anna") == []


def test_what_is_wrong_with_the_disk_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="can't open the store"):
        Store(tmp_path / "file")
    store.keep("anna", heard(0))
    (kept,) = store.utterances("anna")
    kept.audio.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="can't be read"):
        kept.samples()
