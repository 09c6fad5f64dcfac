"""A stream's speaker: weights change between utterances, corrections need somebody who spoke; a device's one user."""

from dataclasses import replace
from pathlib import Path

from myna.adapt.store import Store, Versions
from myna.models.adapter import AdapterBatch
from myna.models.bundle import read_bundle
from myna.server.outputs import Amend, Find, Voice
from myna.server.personal import Personal, PersonalContext
from myna.server.protocol import Adaptation, AdapterName, Correct, Final, Ready, Start
from tests.server.clients import AUDIO, connecting, hear, next_of, rest, say, serving, told, until
from tests.server.test_keeping import kept
from tests.server.test_speakers import coming, content
from tests.support import TINY

SPEC = read_bundle(TINY).spec
ALL = PersonalContext(adapts=True, keeps=True, agreed=frozenset({"carol"}))
OWNED = replace(ALL, agreed=frozenset({"carol", "dora"}), owner="dora")


def personal(context: PersonalContext = ALL, **start: object) -> Personal:
    made = Personal(context, "s", 16_000)
    made.begin(Start.model_validate(start))
    return made


def voice(version: str) -> Voice:
    return Voice(AdapterName(speaker="anna", version=version), AdapterBatch.zeros(SPEC, 1))


def test_weights_change_when_it_is_their_turn() -> None:
    anna, one, two = personal(speaker="anna"), voice("1"), voice("2")
    assert anna.find() == Find("anna")
    assert not anna.turn()
    anna.expect(one)
    assert (anna.adapter, anna.name) == (None, None)
    assert anna.turn()
    assert (anna.adapter, anna.name) == (one.adapter, one.name)
    anna.expect(voice("1"))  # found again
    assert not anna.turn()
    anna.expect(two)
    anna.expect(None)
    assert anna.turn()
    assert anna.adapter is None


def test_a_problem_is_news_once() -> None:
    anna = personal(speaker="anna")
    assert [anna.expect(None, problem) for problem in ("damaged", "damaged", "too old")] == [True, False, True]
    assert not anna.expect(voice("1"))
    assert anna.expect(None, "too old")


def test_who_does_not_say_who_they_are_has_no_weights() -> None:
    assert personal().find() is None
    assert personal(PersonalContext(), speaker="anna").find() is None


def test_consent() -> None:
    assert personal(speaker="anna", collect=True).collector.agreed
    assert personal(speaker="carol").collector.agreed
    assert not personal(speaker="anna").collector.agreed
    assert not personal().collector.agreed


def test_why_nothing_can_be_kept() -> None:
    assert personal().refusal(Start(speaker="anna", collect=True)) is None
    assert personal().refusal(Start(collect=False)) is None
    for made, start in (
        (personal(), Start(collect=True)),
        (personal(PersonalContext()), Start(speaker="a", collect=True)),
    ):
        problem = made.refusal(start)
        assert problem is not None
        assert problem[1].startswith("collect: ")


def test_corrections() -> None:
    anna = personal(speaker="anna")
    correct = Correct(utterance="3", text="hello")
    assert anna.correct(correct) == Amend("anna", "s", "3", "hello")
    assert anna.correct(correct.model_copy(update={"session": "t"})) == Amend("anna", "t", "3", "hello")
    assert anna.amending == 2
    for made in (personal(), personal(PersonalContext(), speaker="anna")):
        problem = made.correct(correct)
        assert isinstance(problem, tuple)
        assert (problem[0], made.amending) == ("not_stored", 0)


def test_who_names_nobody_is_the_owner() -> None:
    dora = personal(OWNED)
    assert dora.find() == Find("dora")
    assert dora.collector.agreed
    assert dora.refusal(Start(collect=True)) is None
    assert dora.correct(Correct(utterance="3", text="hello")) == Amend("dora", "s", "3", "hello")


def test_who_names_somebody_is_somebody_else() -> None:
    anna = personal(OWNED, speaker="anna")
    assert anna.find() == Find("anna")
    assert not anna.collector.agreed


def test_where_nothing_is_kept_nobody_agrees() -> None:
    made = personal(replace(ALL, keeps=False), speaker="carol")
    assert not made.collector.agreed


async def test_a_device_with_one_user(tmp_path: Path) -> None:
    with serving(data_dir=str(tmp_path), speaker="dora") as running:
        messages = await hear(running.url)
        assert "dora" not in "".join(m.model_dump_json() for m in messages)
        found = await kept(tmp_path, "dora", 3)
        assert {one.consent for one in found} == {"configured"}
        await hear(running.url, speaker="dora")
        await kept(tmp_path, "dora", 6)
        await hear(running.url, speaker="ben")
        assert [one.name for one in Store(tmp_path).speakers()] == ["dora"]


async def test_its_user_corrects_and_is_heard_with_their_weights(tmp_path: Path) -> None:
    with serving(data_dir=str(tmp_path), speaker="dora") as running:
        async with connecting(running.url) as socket:
            await say(socket, "start")
            ready = await next_of(socket, "ready")
            await socket.send(AUDIO)
            await say(socket, "finalize")
            await next_of(socket, "finalized")
            await say(socket, "correct", utterance="1", text="what I said")
            await next_of(socket, "stored")
            version = Versions(Store(tmp_path)).publish("dora", content(0), "tiny 1", {})
            await until(coming(running), {version})
            await socket.send(AUDIO)
            await say(socket, "stop")
            messages, _ = await rest(socket)
        assert isinstance(ready, Ready)
        assert ready.adapter is None
        swapped = next(m for m in messages if isinstance(m, Adaptation))
        assert (swapped.event, swapped.speaker, swapped.version) == ("swapped", "dora", version)
        again = await hear(running.url)
        name = AdapterName(speaker="dora", version=version)
        assert [m.adapter for m in again if isinstance(m, Ready | Final)] == [name] * 4
        named, other = await hear(running.url, speaker="dora"), await hear(running.url, speaker="ben")
        assert told(named) == told(again) != told(other)
        assert not [m.adapter for m in other if isinstance(m, Final) and m.adapter]
    texts = [one.text for one in Store(tmp_path).utterances("dora")]
    assert texts.count("what I said") == 1


async def test_its_user_may_say_no_for_a_while(tmp_path: Path) -> None:
    with serving(data_dir=str(tmp_path), speaker="dora") as running:
        async with connecting(running.url) as socket:
            await say(socket, "start")
            await say(socket, "update", collect=False)
            await socket.send(AUDIO)
            await say(socket, "finalize")
            await next_of(socket, "finalized")
            await say(socket, "update", collect=True)
            await socket.send(AUDIO)
            await say(socket, "stop")
            await rest(socket)
    assert len(Store(tmp_path).utterances("dora")) == 3


async def test_who_agreed_once_for_all_is_heard_where_nothing_is_kept() -> None:
    with serving(data_dir="", collect_speakers=["carol"]) as running:
        messages = await hear(running.url, speaker="carol")
    assert len([m for m in messages if isinstance(m, Final)]) == 3
