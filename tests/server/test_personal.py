"""A stream's speaker: weights change between utterances, corrections need somebody who spoke."""

from myna.models.adapter import AdapterBatch
from myna.models.bundle import read_bundle
from myna.server.outputs import Amend, Voice
from myna.server.personal import Personal, PersonalContext
from myna.server.protocol import AdapterName, Correct, Start
from tests.support import TINY

SPEC = read_bundle(TINY).spec
ALL = PersonalContext(adapts=True, keeps=True, agreed=frozenset({"carol"}))


def personal(context: PersonalContext = ALL, **start: object) -> Personal:
    made = Personal(context, "s", 16_000)
    made.begin(Start.model_validate(start))
    return made


def voice(version: str) -> Voice:
    return Voice(AdapterName(speaker="anna", version=version), AdapterBatch.zeros(SPEC, 1))


def test_weights_change_when_it_is_their_turn() -> None:
    anna, one, two = personal(speaker="anna"), voice("1"), voice("2")
    assert anna.adapts
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
    assert not personal().adapts
    assert not personal(PersonalContext(), speaker="anna").adapts


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
