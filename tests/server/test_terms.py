"""What a `start` may ask for."""

from typing import Any

import pytest

from myna.server import terms
from myna.server.protocol import Start
from myna.server.terms import refusal
from tests.server.test_session import LIMITS


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, None),
        ({"model": "tiny", "chunk_ms": 300, "speaker": "anna"}, None),
        ({"model": "other"}, "refused"),
        ({"chunk_ms": 310}, "bad_message"),
        ({"hotwords": [{"phrase": "x"}]}, "not_supported"),
        ({"grammar": ["x"]}, "not_supported"),
        ({"alternatives": 1}, "not_supported"),
        ({"format": "written"}, "not_supported"),
        ({"resume": {"session": "s", "received_bytes": 1}}, "not_supported"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], code: str | None) -> None:
    problem = refusal(Start.model_validate(asked), LIMITS, "tiny")
    assert (problem and problem[0]) == code
    assert problem is None or problem[1].startswith(f"{next(iter(asked))}: ")


def test_there_is_one_place_that_knows_who_may_name_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "may_name", lambda speaker: speaker == "anna")
    assert refusal(Start(speaker="anna"), LIMITS, "tiny") is None
    assert refusal(Start(), LIMITS, "tiny") is None
    problem = refusal(Start(speaker="ben"), LIMITS, "tiny")
    assert problem is not None
    assert problem[0] == "refused"
