"""Settings: what is refused, by name and with the remedy; every field says what it is."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from myna.adapt.settings import AugmentSettings, DataSettings, Source

MANIFEST = {"kind": "manifest", "path": "train.jsonl"}


@pytest.mark.parametrize("model", [Source, DataSettings, AugmentSettings])
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    assert model.model_config.get("frozen")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "table"}, "kind"),
        ({"weight": 0}, "weight"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_wrong_source_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Source.model_validate(MANIFEST | wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"train": []}, "train"),
        ({"shares": (0.8, 0.1, 0.2)}, "shares: sum to 1.1; make them sum to 1"),
        ({"shares": (0, 0.5, 0.5)}, "shares: leave nothing to train on"),
        ({"folds": 1}, "folds: one fold leaves nothing"),
        ({"min_s": 20}, "min_s: must be below max_s, 17"),
        ({"quiet_s": (0.5, 0.2)}, "quiet_s: give the lower end first, from 0 on"),
        ({"quiet_s": (-1, 0.2)}, "quiet_s: give the lower end first, from 0 on"),
        ({"mix_lengths": 2}, "mix_lengths"),
        ({"too_long": "pad"}, "too_long"),
        ({"batches": 3}, "batches"),
    ],
)
def test_wrong_data_settings_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DataSettings.model_validate({"train": [MANIFEST]} | wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"speed_share": 1.5}, "speed_share"),
        ({"speeds": (3,)}, "speeds"),
        ({"speeds": ()}, "speeds: is empty; name one, or set speed_share to 0"),
        ({"codecs": (), "codec_share": 0.1}, "codecs: is empty"),
        ({"codecs": ("mp4",)}, "codecs"),
        ({"snr_db": (25, 5)}, "snr_db: give the lower end first"),
        ({"rooms_rt60_s": (0, 1)}, "rooms_rt60_s: give the lower end first, from 0.01 on"),
        ({"babble_voices": (0, 3)}, "babble_voices"),
        ({"echo": 1}, "echo"),
    ],
)
def test_wrong_augmentation_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AugmentSettings.model_validate(wrong)


def test_what_is_not_used_may_be_empty() -> None:
    AugmentSettings(speed_share=0, speeds=(), codecs=(), tempos=())
    assert DataSettings.model_validate({"train": [MANIFEST]}).train == [Source.model_validate(MANIFEST)]
