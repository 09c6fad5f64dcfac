"""Rounds at several speakers: noted, one process at each, whole whatever dies or is forgotten meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from myna.adapt.personal.attempt import Tell
from myna.adapt.personal.base import Base, read_base
from myna.adapt.personal.round import Outcome, alone
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.personal.worker import rounds
from myna.adapt.store import Pace, Rounds, Store, StoreError, Versions
from myna.models.bundle import read_bundle
from tests.adapt.personal.spoken import EASY, REFUSED, speak
from tests.support import TINY

pytestmark = pytest.mark.usefixtures("one_thread")

PACE = Pace(utterances=2)
POINTS = ("listening", "trying what helps")
# A worker that says what it is about to do, and waits for a line before it does.
WORKER = """
import sys
from pathlib import Path
import torch
from myna.adapt.personal.base import read_base
from myna.adapt.personal.worker import rounds
from myna.adapt.store import Store
from myna.models.bundle import read_bundle
from tests.adapt.personal.spoken import EASY
from tests.support import TINY
torch.set_num_threads(1)

def tell(what, share):
    print(what, flush=True)
    sys.stdin.readline()

for speaker, outcome in rounds(read_base(read_bundle(TINY)), Store(Path(sys.argv[1])), ["anna"], EASY, tell):
    print(outcome.reason, flush=True)
"""


@pytest.fixture(scope="module")
def base() -> Base:
    return read_base(read_bundle(TINY))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "data")
    for speaker in ("anna", "ben"):
        speak(store, speaker)
    return store


def learn(
    base: Base, store: Store, *speakers: str, tell: Tell = lambda what, share: None, settings: AdaptSettings = EASY
) -> list[Outcome]:
    found = list(rounds(base, store, speakers, settings, tell))
    assert [speaker for speaker, _ in found] == list(speakers)
    return [outcome for _, outcome in found]


def at(point: str, act: Callable[[], object]) -> Tell:
    """Do something once, when a round comes to a point."""
    left = [act]

    def tell(what: str, share: float) -> None:
        if what == point and left:
            left.pop()()

    return tell


def files(store: Store) -> set[str]:
    return {path.name for path in store.folder.rglob("*") if path.is_file() and "sqlite" not in path.name}


@contextmanager
def worker(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Run a worker; it does not outlive the test."""
    command = [sys.executable, "-c", WORKER, str(store.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def go_on_to(process: subprocess.Popen[str], point: str, passes: int = 0) -> None:
    """Let a worker come to a point, and pass it so many times."""
    assert process.stdin
    assert process.stdout
    while (said := process.stdout.readline().strip()) != point or (passes := passes - 1) >= 0:
        assert said in POINTS
        process.stdin.write("\n")
        process.stdin.flush()


def test_what_is_learnt_is_published_and_noted(base: Base, store: Store) -> None:
    assert Rounds(store, PACE).due() == ["anna", "ben"]
    one, other = learn(base, store, "anna", "ben")
    versions = Versions(store)
    for speaker, outcome in (("anna", one), ("ben", other)):
        used = versions.in_use(speaker)
        assert used is not None
        assert used.version == outcome.version
        assert used.content()
        assert not outcome.failed
    assert Rounds(store, PACE).due() == []


def test_what_is_refused_is_noted_with_its_reason(base: Base, store: Store) -> None:
    (outcome,) = learn(base, store, "anna", settings=REFUSED)
    (version,) = Versions(store).versions("anna")
    assert (outcome.version, outcome.failed, outcome.reason) == (None, False, version.reason)
    assert Rounds(store, PACE).due() == ["ben"]


def test_a_failure_is_noted_and_the_next_one_learnt(base: Base, store: Store) -> None:
    folder = store.folder_of("anna")
    assert folder
    (folder / "adapters").write_text("in the way")
    failed, learnt = learn(base, store, "anna", "ben")
    assert (failed.version, failed.failed) == (None, True)
    assert "can't be published" in failed.reason
    assert learnt.version
    assert Rounds(store, PACE).due() == []
    (row,) = store.database.rows("SELECT * FROM rounds WHERE error IS NOT NULL")
    assert row["error"] == failed.reason
    assert Rounds(Store(store.folder, clock=lambda: row["began_s"] + PACE.retry_s), PACE).due() == ["anna"]


@pytest.mark.parametrize("point", POINTS)
def test_who_is_forgotten_in_a_round_stays_forgotten(base: Base, store: Store, point: str) -> None:
    forgotten, learnt = learn(base, store, "anna", "ben", tell=at(point, lambda: store.forget("anna")))
    assert forgotten.version is None
    assert learnt.version
    assert [one.name for one in store.speakers()] == ["ben"]
    assert Versions(store).versions("anna") == []
    assert store.folder_of("anna") is None
    assert list((store.folder / "speakers").iterdir()) == [store.folder_of("ben")]
    assert store.database.rows("SELECT 1 FROM rounds WHERE error IS NOT NULL") == []


def test_who_is_forgotten_before_their_turn_is_left_alone(base: Base, store: Store) -> None:
    learnt, forgotten = learn(base, store, "anna", "ben", tell=at("listening", lambda: store.forget("ben")))
    assert learnt.version
    assert forgotten.failed
    assert list((store.folder / "speakers").iterdir()) == [store.folder_of("anna")]


def test_what_would_be_refused_of_the_forgotten_is_not_noted(base: Base, store: Store) -> None:
    tell = at("trying what helps", lambda: store.forget("anna"))
    (outcome,) = learn(base, store, "anna", settings=REFUSED, tell=tell)
    assert outcome.failed
    assert "forgotten meanwhile" in outcome.reason
    assert Versions(store).versions("anna") == []


@pytest.mark.parametrize("settings", [EASY, REFUSED], ids=["published", "refused"])
def test_who_comes_back_gets_nothing_of_what_was_forgotten(base: Base, store: Store, settings: AdaptSettings) -> None:
    def come_back() -> None:
        store.forget("anna")
        speak(store, "anna", [7])

    (outcome,) = learn(base, store, "anna", settings=settings, tell=at("trying what helps", come_back))
    assert outcome.failed
    assert "forgotten meanwhile" in outcome.reason
    assert Versions(store).versions("anna") == []
    assert Versions(store).in_use("anna") is None
    assert len(list((store.folder / "speakers").iterdir())) == 2
    assert not [name for name in files(store) if not name.endswith(".flac") and name != "lock"]


def test_the_lock_goes_with_its_speaker(store: Store) -> None:
    with alone(store, "anna") as folder:
        assert (folder / "lock").exists()
        store.forget("anna")
        assert not folder.exists()
    with pytest.raises(StoreError, match="nothing is kept"), alone(store, "anna"):
        pass
    assert not folder.exists()


def test_who_is_forgotten_just_before_the_lock_gets_no_folder(store: Store) -> None:
    class Hasty(Store):
        def folder_of(self, speaker: str) -> Path | None:
            folder = super().folder_of(speaker)
            self.forget(speaker)
            return folder

    with pytest.raises(StoreError, match="forgotten meanwhile"), alone(Hasty(store.folder), "anna"):
        pass
    assert list((store.folder / "speakers").iterdir()) == [store.folder_of("ben")]


def test_corrections_meanwhile_are_learnt_from_next_time(base: Base, store: Store) -> None:
    def correct() -> None:
        for number in range(2):
            store.correct("anna", "session of anna", str(number), "ma ma")

    (outcome,) = learn(base, store, "anna", tell=at("trying what helps", correct))
    assert outcome.version
    assert Rounds(store, PACE).due() == ["ben", "anna"]


def test_never_two_at_one_speaker(base: Base, store: Store) -> None:
    with worker(store) as process:
        go_on_to(process, "trying what helps")
        busy, learnt = learn(base, store, "anna", "ben")
        assert busy.failed
        assert "another process learns this speaker" in busy.reason
        assert learnt.version
        assert Rounds(store, PACE).due() == []
        process.kill()
        process.wait()
        (outcome,) = learn(base, store, "anna")
    assert outcome.version


@pytest.mark.parametrize(("point", "passes"), [(POINTS[0], 0), (POINTS[0], 2), (POINTS[1], 0), (POINTS[1], 3)])
def test_a_kill_leaves_the_store_whole_and_the_round_to_be_tried_again(
    base: Base, store: Store, point: str, passes: int
) -> None:
    before = files(store)
    with worker(store) as process:
        go_on_to(process, point, passes)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert files(store) == before | {"lock"}
    assert [tuple(row) for row in store.database.rows("PRAGMA integrity_check")] == [("ok",)]
    assert Versions(store).versions("anna") == []
    assert len([one.samples() for one in store.utterances("anna")]) == 4
    (row,) = store.database.rows("SELECT * FROM rounds")
    assert row["ended_s"] is None
    for wait_s, due in ((PACE.retry_s - 1, ["ben"]), (PACE.retry_s, ["anna", "ben"])):
        assert Rounds(Store(store.folder, clock=lambda s=wait_s: row["began_s"] + s), PACE).due() == due  # type: ignore[misc]
    (outcome,) = learn(base, store, "anna")
    assert outcome.version
    assert Rounds(Store(store.folder, clock=lambda: time.time() + 3_600), PACE).due() == ["ben"]
