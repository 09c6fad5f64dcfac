"""The presets of endpointing."""

from typing import get_args

import pytest

from myna.server.endpoint import PRESETS, endpointing
from myna.server.protocol import Endpointing, Preset


@pytest.mark.parametrize("name", get_args(Preset))
def test_every_preset_is_within_the_bounds_of_the_protocol(name: Preset) -> None:
    assert endpointing(name) == Endpointing.model_validate(PRESETS[name].model_dump())


def test_assistants_answer_first_and_dictation_is_patient() -> None:
    assert PRESETS["assistant"].silence_ms < PRESETS["captions"].silence_ms < PRESETS["dictation"].silence_ms
    assert PRESETS["dictation"].max_utterance_ms == max(rule.max_utterance_ms for rule in PRESETS.values())


def test_own_rules_are_taken_as_they_are() -> None:
    rule = Endpointing(silence_ms=900)
    assert endpointing(rule) is rule
