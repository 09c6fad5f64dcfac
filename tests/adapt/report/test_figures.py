"""Figures of a learning curve: as rounds write them, and whatever of them is missing or odd."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.report.figures import Comparison, Told, points, read_curve
from myna.adapt.store import StoreError, Versions
from tests.adapt.report.made import curve_of, report, store_of
from tests.adapt.store.test_speech import heard
from tests.contracts.test_imports import loaded_after

TEXT = st.text(st.sampled_from('aé<&"\x1b\0\u202e\ud800 '), max_size=9)
PLAIN: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, 0, 3, 0.5, 2.5, 10**400, float("nan"), float("inf"), "12", "<b>", []]
)
COUNTED = st.dictionaries(TEXT, PLAIN, max_size=3)
COMPARED = st.dictionaries(st.sampled_from(sorted(Comparison.model_fields)), PLAIN, max_size=4)
REPORTS = st.dictionaries(st.sampled_from(sorted(Told.model_fields)), PLAIN | COUNTED | COMPARED, max_size=4)


def test_what_a_round_wrote(tmp_path: Path) -> None:
    found = curve_of(tmp_path / "data", (None, report()), ("It does not help yet.", report(13, generic=None)))
    first, second = found.attempts
    held = first.told.held_out
    assert held is not None
    assert (held.words, held.base_wer, held.wer) == (96, 12 / 96, 8 / 96)
    assert held.change == pytest.approx(-1 / 3)
    assert found.used == first
    assert (second.version, second.reason, second.number) == (None, "It does not help yet.", 2)
    assert second.told.generic is None
    assert points(found.attempts) == [(first, 12 / 96, 8 / 96), (second, 12 / 96, 13 / 96)]


def test_it_is_json(tmp_path: Path) -> None:
    found = json.loads(curve_of(tmp_path / "data", (None, report())).model_dump_json())
    (attempt,) = found["attempts"]
    assert attempt["told"]["learnt_from"] == {"pseudo": 8, "corrected": 12, "enrolled": 20}
    assert attempt["told"]["held_out"]["wer"] == pytest.approx(8 / 96)
    assert attempt["told"]["gate"].startswith("On 24 utterances")
    assert found["following"]["learnt_from"] == {"pseudo": 1}


@pytest.mark.parametrize("told", [{}, {"held_out": {"words": 0, "errors": 0}}, {"held_out": [1]}, {"learnt_from": 3}])
def test_what_is_missing_is_absent(tmp_path: Path, told: dict[str, Any]) -> None:
    found = curve_of(tmp_path / "data", (None, told))
    assert found.used is not None
    assert points(found.attempts) == []
    assert found.used.told.learnt_from == {}


def test_what_is_odd_is_absent_and_the_rest_is_there() -> None:
    odd = report(learnt_from={"corrected": 3, "enrolled": "many", "pseudo": True, "sung": 2}, seconds=float("nan"))
    told = Told.model_validate(odd | {"held_out": {"words": 10, "base_errors": 2, "errors": 1, "sure": 7}})
    assert told.learnt_from == {"corrected": 3, "sung": 2}
    assert told.seconds is None
    assert told.passes == 4
    assert told.held_out is not None
    assert (told.held_out.wer, told.held_out.sure) == (0.1, None)


@settings(max_examples=50, deadline=None)
@given(REPORTS)
def test_any_report_is_read_and_written(told: dict[str, Any]) -> None:
    json.loads(Told.model_validate(json.loads(json.dumps(told))).model_dump_json(), parse_constant=pytest.fail)


def test_a_report_that_is_no_object(tmp_path: Path) -> None:
    store = store_of(tmp_path / "data", [(None, {})])
    with store.database.writing() as connection:
        connection.execute("UPDATE versions SET report = '[1, 2]'")
    assert read_curve(store, "anna").attempts[0].told == Told()


def test_before_anything_was_learnt(tmp_path: Path) -> None:
    store = store_of(tmp_path / "data", [])
    assert "5 are the least" in (read_curve(store, "anna").why_not or "")
    for number in range(1, 8):
        store.keep("anna", heard(number, source="corrected", seconds=0.4))
    found = read_curve(store, "anna")
    assert (found.why_not, found.attempts, found.following.learnt_from) == (None, (), {"corrected": 7, "pseudo": 1})
    assert found.following.left_out == {}


def test_versions_outlive_the_utterances(tmp_path: Path) -> None:
    store = store_of(tmp_path / "data", [(None, report())])
    store.remove(store.utterances("anna"))
    assert read_curve(store, "anna").used is not None
    Versions(store).roll_back("anna")
    assert read_curve(store, "anna").used is None


def test_who_is_unknown_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing is kept of this speaker"):
        read_curve(store_of(tmp_path / "data", []), "carol")


def test_no_torch_is_loaded() -> None:
    assert not loaded_after("import myna.adapt.speakers") & {"torch", "onnxruntime", "matplotlib"}
