"""A round at a real store: published or refused with a report; nothing half done, whatever is wrong or goes on."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.personal.attempt import bent_by  # noqa: E402
from myna.adapt.personal.base import Base, read_base  # noqa: E402
from myna.adapt.personal.choose import choose  # noqa: E402
from myna.adapt.personal.lessons import Lesson, answer, below, examine, prepare, second_hearing, text_of  # noqa: E402
from myna.adapt.personal.others import Others  # noqa: E402
from myna.adapt.personal.round import LOCK, Busy, Outcome, alone, learn_speaker, make_lessons  # noqa: E402
from myna.adapt.personal.settings import AdaptSettings  # noqa: E402
from myna.adapt.store import Heard, Source, Store, StoreError, Versions  # noqa: E402
from myna.models.adapter_file import read_adapter  # noqa: E402
from myna.models.bundle import open_bundle, resolve_bundle  # noqa: E402
from myna.models.nn.conformer import Packed  # noqa: E402
from tests.adapt.personal.taught import (  # noqa: E402
    DIALECT,
    LENIENT,
    SETTINGS,
    STANDARD,
    STRANGER,
    generic_of,
    lesson_of,
    others,
    quiet,
    say,
    taught,
    text,
    tiny,
)
from tests.server.speech import silence, voice  # noqa: E402
from tests.support import SHARED  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
WILD = SETTINGS.model_copy(update={"passes": (1,), "rate": 1.0, "rank_rate": 1.0, "warmup_steps": 0})  # refused, fast
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def keep(
    store: Store, samples: Any, text: str, source: Source = "corrected", heard: str | None = None, speaker: str = "anna"
) -> None:
    """Keep an utterance as the server does; what was heard is the text but for corrections."""
    session = f"session of {speaker}"
    number = str(len(store.utterances(speaker)))
    first: Source = "pseudo" if source == "corrected" else source
    store.keep(speaker, Heard(samples, heard or text, 0.95, session, number, "tiny 1", source=first))
    if source == "corrected":
        store.correct(speaker, session, number, text)


def talk(store: Store, speech: int = DIALECT, count: int = 12, first: int = 0, source: Source = "enrolled") -> None:
    """Keep so many sentences with their true texts."""
    for number in range(first, first + count):
        keep(store, say(number, speech), text(number), source)


def published(store: Store, base: Base, speaker: str = "anna") -> Packed:
    """Read what is in use as a server does."""
    used = Versions(store).in_use(speaker)
    assert used is not None
    return bent_by(read_adapter(used.content(), base.spec, base.graph), base.spec)


def errors(base: Base, lessons: list[Lesson], packed: Packed | None = None) -> int:
    return sum(mark.errors for mark in examine(base, lessons, packed))


def adapters(store: Store) -> list[Path]:
    return list(store.folder.rglob("*.safetensors*"))


# ------------------------------------------------------------------ published, refused


def test_what_helps_is_published_with_its_report(store: Store) -> None:
    base = taught()
    talk(store, count=11)
    keep(store, say(11), text(11), heard="ba")
    keep(store, say(0), "?")
    outcome = learn_speaker(base, others(), store, "anna", LENIENT, quiet)
    (version,) = Versions(store).versions("anna")
    assert outcome.version == version.version is not None
    assert (version.in_use, version.model, version.reason) == (True, "tiny 1", None)
    assert json.loads(json.dumps(outcome.report)) == version.report
    report = version.report
    assert report["learnt_from"] == {"enrolled": 11, "corrected": 1}
    assert report["left_out"] == {"without words": 1}
    assert report["seconds"] == pytest.approx(12 * 1.0)
    assert report["passes"] in LENIENT.passes
    assert 0 < report["strength"] <= 1
    assert (report["held_out"]["utterances"], report["held_out"]["words"]) == (12, 24)
    assert report["held_out"]["errors"] < report["held_out"]["base_errors"]
    assert report["generic"]["utterances"] == len(base.generic)
    assert report["gate"] == outcome.reason
    assert (
        f"{report['held_out']['errors']} word errors instead of {report['held_out']['base_errors']}" in report["gate"]
    )
    assert report["took_s"] >= 0
    assert report["peak_mb"] > 10
    unheard = [lesson_of(base, number, DIALECT) for number in range(12, 20)]
    assert errors(base, unheard, published(store, base)) < errors(base, unheard)


def test_what_does_not_help_is_refused_with_its_report(store: Store) -> None:
    talk(store, STANDARD)
    outcome = learn_speaker(taught(), others(), store, "anna", WILD, quiet)
    assert outcome.version is None
    (version,) = Versions(store).versions("anna")
    assert (version.version, version.in_use, version.reason) == (None, False, outcome.reason)
    assert version.report["held_out"]["errors"] > version.report["held_out"]["base_errors"] == 0
    assert version.report["generic"] is None
    assert Versions(store).in_use("anna") is None
    assert adapters(store) == []


def test_a_refusal_leaves_the_version_in_use(store: Store) -> None:
    talk(store)
    first = learn_speaker(taught(), others(), store, "anna", LENIENT, quiet).version
    assert first
    assert learn_speaker(taught(), others(), store, "anna", WILD, quiet).version is None
    used = Versions(store).in_use("anna")
    assert used is not None
    assert used.version == first


def test_the_same_speech_again_is_the_same_version(store: Store) -> None:
    talk(store)
    one, other = (learn_speaker(taught(), others(), store, "anna", LENIENT, quiet) for _ in range(2))
    assert one.version == other.version is not None
    assert len(adapters(store)) == len(Versions(store).versions("anna")) == 1


def test_too_little_is_no_attempt(store: Store) -> None:
    talk(store, count=3)
    outcome = learn_speaker(taught(), others(), store, "anna", SETTINGS, quiet)
    assert outcome == Outcome(None, outcome.reason, {})
    assert outcome.reason.startswith("3 utterances can be learnt from, 4 are the least")
    assert Versions(store).versions("anna") == []


def test_of_nobody_nothing_is_kept(store: Store) -> None:
    with pytest.raises(StoreError, match="nothing is kept of this speaker"):
        learn_speaker(taught(), others(), store, "ben", SETTINGS, quiet)
    assert not list(store.folder.glob("speakers/*"))


def test_a_model_that_understands_nothing_ends_in_a_sentence(store: Store) -> None:
    """The tiny bundle as it is: random weights, no generic set."""
    talk(store)
    outcome = learn_speaker(tiny(), None, store, "anna", SETTINGS, quiet)
    (version,) = Versions(store).versions("anna")
    assert version.report["generic"] is None
    assert version.version == outcome.version
    assert "On 12 utterances that it had not learnt from" in outcome.reason


# ------------------------------------------------------------------ what is wrong with the speech


def lessons_of(base: Base, store: Store, settings: AdaptSettings = SETTINGS) -> tuple[list[Lesson], dict[str, int]]:
    plan = choose(store.utterances("anna"), settings)
    assert plan.why_not is None
    return make_lessons(base, plan, settings, quiet)


def test_audio_that_is_gone_or_damaged_is_counted(store: Store) -> None:
    talk(store, count=9)
    kept = store.utterances("anna")
    kept[0].audio.unlink()
    kept[1].audio.write_bytes(kept[1].audio.read_bytes()[:2000])
    kept[2].audio.write_bytes(b"")
    kept[3].audio.write_bytes(b"no audio " * 100)
    lessons, out = lessons_of(taught(), store)
    assert (len(lessons), out) == (5, {"their audio is gone or damaged": 4})
    outcome = learn_speaker(taught(), others(), store, "anna", WILD, quiet)
    assert outcome.report["left_out"] == {"their audio is gone or damaged": 4}
    for one in kept[4:6]:
        one.audio.unlink()
    assert learn_speaker(taught(), others(), store, "anna", WILD, quiet) == Outcome(
        None, "of 9 utterances only 3 are fit to learn from"
    )


def test_a_text_that_can_t_be_spelt_is_counted(store: Store) -> None:
    talk(store, count=5)
    for odd in ("xyz", "ba 123", "日本", "ba di " * 99):
        keep(store, say(0), odd)
    lessons, out = lessons_of(taught(), store)
    assert (len(lessons), out) == (5, {"their text can't be spelt by this model": 4})


def test_texts_are_cleaned(store: Store) -> None:
    for number in range(5):
        keep(store, say(number), f" {text(number).upper()}?! ")
    lessons, out = lessons_of(taught(), store)
    assert [lesson.text for lesson in lessons] == [text(number) for number in range(5)]
    assert out == {}


def test_an_uncorrected_text_is_that_of_the_second_hearing(store: Store) -> None:
    base = taught()
    for number in range(4):
        keep(store, say(number, DIALECT), second_hearing(base, say(number, DIALECT)), "pseudo")
    keep(store, say(3), "ku ma ti", "pseudo")  # it is "ku ma bi"
    lessons, out = lessons_of(base, store)
    assert [lesson.text for lesson in lessons] == [
        second_hearing(base, one.samples()) for one in store.utterances("anna")
    ]
    assert lessons[4].text == "ku ma bi"
    assert out == {}


def test_an_uncorrected_text_that_is_heard_otherwise_is_counted(store: Store) -> None:
    talk(store, STANDARD, count=5, source="pseudo")
    keep(store, say(0), "ku ma bi", "pseudo")
    keep(store, silence(0.7), "ti", "pseudo")
    lessons, out = lessons_of(taught(), store)
    assert (len(lessons), out) == (5, {"heard otherwise when heard again": 2})


def test_ten_minutes_are_left_out(store: Store) -> None:
    talk(store, count=4)
    keep(store, np.zeros(600 * 16_000, np.int16), "ba di", "enrolled")
    outcome = learn_speaker(taught(), others(), store, "anna", WILD, quiet)
    assert outcome.report["left_out"] == {"longer than 20 s": 1}


def test_doubtful_corrections_are_left_out(store: Store) -> None:
    """Two texts of ten are hardly what is heard; texts that were read aloud are not doubted."""
    for number in range(8):
        keep(store, say(number), text(number))
    for wrong in range(2):
        keep(store, say(wrong), "ti ti ti ti ti")
    keep(store, say(0), "ti ti ti ti ti", "enrolled")
    lessons, out = lessons_of(taught(), store)
    assert [lesson.text for lesson in lessons] == [*map(text, range(8)), "ti ti ti ti ti"]
    assert out == {"corrected to something else than what is heard": 2}


def test_a_model_that_does_not_understand_is_no_reason_to_doubt_corrections(store: Store) -> None:
    for number in range(8):
        keep(store, say(number), "ti ti ti ti ti")
    lessons, out = lessons_of(taught(), store)
    assert (len(lessons), out) == (8, {})


def test_a_fifth_of_wrong_corrections_does_no_harm(store: Store) -> None:
    """Texts that were meant for other utterances: what slips through must not make the gate publish a loss."""
    base = taught()
    for number in range(15):
        keep(store, say(number, DIALECT), text(number + number % 5 // 4))
    outcome = learn_speaker(base, others(), store, "anna", LENIENT, quiet)
    assert Versions(store).versions("anna")
    if outcome.version:
        unheard = [lesson_of(base, number, DIALECT) for number in range(15, 23)]
        assert errors(base, unheard, published(store, base)) <= errors(base, unheard)


def test_another_person_s_speech_is_judged_like_any(store: Store) -> None:
    base = taught()
    talk(store, DIALECT, count=6)
    talk(store, STRANGER, count=6, first=6)
    outcome = learn_speaker(base, others(), store, "anna", SETTINGS, quiet)
    (version,) = Versions(store).versions("anna")
    assert version.version == outcome.version
    if outcome.version:
        assert version.report["held_out"]["errors"] <= version.report["held_out"]["base_errors"]
        assert errors(base, generic_of(base), published(store, base)) <= bound(base)


# ------------------------------------------------------------------ what goes on meanwhile


def test_another_process_at_the_same_speaker_is_not_disturbed(store: Store) -> None:
    talk(store, STANDARD, count=4)
    folder = store.folder_of("anna")
    assert folder
    command = [sys.executable, "-c", HOLDER, str(folder / LOCK)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Busy, match="another process learns this speaker"):
        learn_speaker(taught(), others(), store, "anna", WILD, quiet)
    assert Versions(store).versions("anna") == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    learn_speaker(taught(), others(), store, "anna", WILD, quiet)
    assert len(Versions(store).versions("anna")) == 1


def test_one_at_a_time_within_a_process_too(store: Store) -> None:
    talk(store, count=1)
    keep(store, say(0), "ba di", speaker="ben")
    with alone(store, "anna"):
        with pytest.raises(Busy), alone(store, "anna"):
            pass
        with alone(store, "ben"):
            pass
    with alone(store, "anna"):
        pass


@pytest.mark.parametrize("when", ["listening", "trying what helps", "listening to others"])
def test_stopped_at_any_moment_it_leaves_nothing(store: Store, when: str) -> None:
    talk(store)

    def stop(what: str, share: float) -> None:
        if what == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_speaker(taught(), others(), store, "anna", LENIENT, stop)
    assert Versions(store).versions("anna") == []
    assert adapters(store) == []
    with alone(store, "anna"):
        assert len(store.utterances("anna")) == 12


def forgetting(store: Store, when: str) -> Any:
    def forget(what: str, share: float) -> None:
        if what == when:
            store.forget("anna")

    return forget


def test_forgotten_while_it_is_learnt_nothing_is_published(store: Store) -> None:
    talk(store)
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        learn_speaker(taught(), others(), store, "anna", LENIENT, forgetting(store, "listening to others"))
    assert (store.speakers(), Versions(store).versions("anna"), adapters(store)) == ([], [], [])


@pytest.mark.parametrize("settings", [LENIENT, WILD])
@pytest.mark.parametrize("back", [False, True])
def test_what_was_learnt_of_the_forgotten_is_lost(store: Store, settings: AdaptSettings, back: bool) -> None:
    """Passed or refused; even if somebody of the same name is back meanwhile."""
    talk(store)

    def forget(what: str, share: float) -> None:
        if what == "trying what helps" and len(store.utterances("anna")) == 12:
            store.forget("anna")
            if back:
                talk(store, STANDARD, count=1)

    with pytest.raises(StoreError, match="forgotten meanwhile"):
        learn_speaker(taught(), others(), store, "anna", settings, forget)
    assert (len(store.speakers()), Versions(store).versions("anna"), adapters(store)) == (int(back), [], [])


def test_forgotten_while_it_is_listened_to_it_is_not_learnt(store: Store) -> None:
    talk(store)
    with pytest.raises(StoreError, match="forgotten meanwhile"):
        learn_speaker(taught(), others(), store, "anna", LENIENT, forgetting(store, "listening"))


# ------------------------------------------------------------------ pseudo-labels of noise


def bound(base: Base) -> float:
    """Return how many errors others' speech may have."""
    return errors(base, generic_of(base)) * (1 + SETTINGS.max_generic_errors)


def noise(number: int) -> Any:
    """Make silence, babble, or noise of some loudness, never twice the same."""
    rng, count = np.random.default_rng(number), 11_200
    match number % 4:
        case 0:
            return silence(0.5 + number / 1000)
        case 1:
            voices = [voice(0.7, float(rng.uniform(90, 250)), int(rng.integers(1000))) for _ in range(3)]
            made = np.mean(voices, axis=0)
        case _:
            made = rng.standard_normal(count) * rng.choice([30, 1000, 6000])
    return np.concatenate([silence(0.3), made.astype(np.int16)])


def hear_noise(base: Base, store: Store, rounds: int) -> list[str]:
    """Keep noise as confident speech, as heard with what is in use, and learn from it; return the versions.

    Empty texts are never kept by the server. Every other round learns gently, and asks next to no proof of a gain, so
    that versions are published: what others bear is all that is in the way.
    """
    generic, most, bend, versions = generic_of(base), bound(base), None, list[str]()
    for number in range(rounds):
        chosen: dict[str, Any] = {"passes": (2, 4), "max_utterances": 8}
        if number % 2:
            chosen |= {"passes": (1, 2), "rate": 1e-3, "rank_rate": 1e-3, "gate_level": 0.51}
        settings = SETTINGS.model_copy(update=chosen)
        for sound in map(noise, range(4 * number, 4 * number + 4)):
            heard = text_of(base, answer(base, [below(base, sound.astype(np.float32), 0)], bend, 0)[0])
            if heard:
                keep(store, sound, heard, "pseudo")
        outcome = learn_speaker(base, others(), store, "anna", settings, quiet)
        if outcome.version:
            versions.append(outcome.version)
            bend = published(store, base)
            assert errors(base, generic, bend) <= most
    return versions


@pytest.mark.parametrize("rounds", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_learning_from_noise_over_and_over_harms_nobody(store: Store, rounds: int) -> None:
    base = taught()
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    versions = hear_noise(base, store, rounds)
    assert versions, "nothing was ever published: this proves little"
    assert len(store.utterances("anna")) >= rounds
    tried = Versions(store).versions("anna")
    assert len(tried) >= rounds // 2
    for one in tried:
        if one.version:
            assert one.report["generic"]["errors"] <= one.report["generic"]["base_errors"] * 1.03
    after = base.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


# ------------------------------------------------------------------ the default model


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data/adapt_dev.jsonl").is_file(), reason="the speech is not here (set MYNA_SHARED)")
def test_the_default_model_learns_a_speaker(store: Store) -> None:
    """A Mandarin speaker of speechocean762 with ten sentences read aloud (Zhang et al. 2021)."""
    with open_bundle(resolve_bundle(None)) as bundle:
        base = read_base(bundle)
    base = replace(base, generic=base.generic[::8])
    lines = map(json.loads, (SHARED / "data/adapt_dev.jsonl").read_text(encoding="utf-8").splitlines())
    tests = list[Lesson]()
    for row in lines:
        if row["speaker"] == "so_1228":
            samples, _ = soundfile.read(SHARED / "data" / row["audio"], dtype="int16")
            if row["role"] == "adapt":
                keep(store, samples, row["text"], "enrolled")
            else:
                lesson = prepare(base, samples, row["text"])
                assert lesson
                tests.append(lesson)
    settings = AdaptSettings.model_validate(
        SETTINGS.model_dump() | {"rate": 3e-3, "rank": 0, "batch_utterances": 5, "passes": (4,), "folds": 2}
    )
    outcome = learn_speaker(base, Others(base, 0), store, "anna", settings, quiet)
    assert outcome.version, outcome.reason
    assert errors(base, tests, published(store, base)) < errors(base, tests)
