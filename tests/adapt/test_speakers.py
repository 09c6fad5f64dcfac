"""`myna speaker`: what is kept is shown, exported, forgotten by one command each."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from myna.adapt.speakers import app
from myna.adapt.store import Store, StoreError, Versions
from myna.bench.manifest import read_manifest
from tests.adapt.store.test_speech import heard


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = Store(tmp_path / "data")
    for number in range(3):
        store.keep("anna", heard(number))
    store.keep("ben", heard(3))
    store.correct("anna", "session", "1", "ga mu")
    store.close()
    return tmp_path / "data"


def run(data: Path, *arguments: object, answer: str | None = None) -> str:
    words = [*map(str, arguments), "--data-dir", str(data)]
    result = CliRunner().invoke(app, words, input=answer, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_and_show(data: Path) -> None:
    found = json.loads(run(data, "list", "--json"))["speakers"]
    assert [(one["name"], one["utterances"], one["corrected"]) for one in found] == [("anna", 3, 1), ("ben", 1, 0)]
    assert "anna" in run(data, "list")
    shown = json.loads(run(data, "show", "anna", "--json"))["utterances"]
    assert [(one["heard"], one["text"]) for one in shown] == [
        ("ba di", "ba di"),
        ("ba di", "ga mu"),
        ("ba di", "ba di"),
    ]
    assert "ga mu" in run(data, "show", "anna")


def test_export_is_a_manifest(data: Path, tmp_path: Path) -> None:
    assert "3 utterances" in run(data, "export", "anna", tmp_path / "out")
    clips = read_manifest(tmp_path / "out/utterances.jsonl")
    assert [(clip.text, clip.speaker) for clip in clips] == [("ba di", "anna"), ("ga mu", "anna"), ("ba di", "anna")]
    with pytest.raises(StoreError, match="exists already"):
        run(data, "export", "anna", tmp_path / "out")


def test_forget_asks_first(data: Path) -> None:
    result = CliRunner().invoke(app, ["forget", "anna", "--data-dir", str(data)], input="n\n")
    assert result.exit_code != 0
    assert len(Store(data).utterances("anna")) == 3
    run(data, "forget", "anna", answer="y\n")
    run(data, "forget", "ben", "--yes")
    assert Store(data).speakers() == []
    assert "Nothing is kept" in run(data, "list")


def test_what_was_enrolled_has_no_confidence_and_no_markup(data: Path) -> None:
    store = Store(data)
    store.keep("[b]dora[/i]", replace(heard(9, "enrolled", text="ga [/] mu"), model=""))
    shown = run(data, "show", "[b]dora[/i]")
    assert "enrolled" in shown
    assert "ga [/] mu" in shown
    assert "0.90" not in shown
    assert "[b]dora[/i]" in run(data, "list")


def test_versions_and_rollback(data: Path) -> None:
    assert "Nothing was learnt" in run(data, "versions", "anna")
    versions = Versions(Store(data))
    first, second = (versions.publish("anna", content, "tiny 1", {}) for content in (b"1", b"2"))
    versions.refuse("anna", "It was no better.", "tiny 1", {})
    found = json.loads(run(data, "versions", "anna", "--json"))["versions"]
    assert [(one["version"], one["in_use"], one["reason"]) for one in found] == [
        (first, False, None),
        (second, True, None),
        (None, False, "It was no better."),
    ]
    assert "It was no better." in run(data, "versions", "anna")
    assert first in run(data, "rollback", "anna")
    assert second in run(data, "rollback", "anna", "--to", second)
    used = versions.in_use("anna")
    assert used is not None
    assert used.version == second


def test_report(data: Path, tmp_path: Path) -> None:
    assert "Nothing was learnt yet." in run(data, "report", "anna")
    Versions(Store(data)).refuse("anna", "It was no better.", "tiny 1", {"learnt_from": {"corrected": 5}})
    assert "It was no better." in run(data, "report", "anna")
    found = json.loads(run(data, "report", "anna", "--json"))
    assert [(one["version"], one["reason"]) for one in found["attempts"]] == [(None, "It was no better.")]
    assert "1 attempt" in run(data, "report", "anna", "--html", tmp_path / "anna.html")
    assert "It was no better." in (tmp_path / "anna.html").read_text(encoding="utf-8")
    with pytest.raises(StoreError, match="exists already"):
        run(data, "report", "anna", "--html", tmp_path / "anna.html")


@pytest.mark.parametrize("command", [["show", "carol"], ["forget", "carol", "--yes"], ["report", "carol"]])
def test_who_is_unknown_is_said_so(data: Path, command: list[str]) -> None:
    with pytest.raises(StoreError, match="nothing is kept of this speaker"):
        run(data, *command)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no folder"):
        run(tmp_path / "absent", "list")
    assert not (tmp_path / "absent").exists()
