"""`myna enroll` as a command: manifests of real speech, hostile names, interruptions, and what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from myna.adapt import speakers
from myna.adapt.data import DataError
from myna.adapt.enroll import enroll
from myna.adapt.store import Heard, Store, StoreError
from tests.server.speech import voice
from tests.support import SHARED

PROGRAM = "import typer\nfrom myna.adapt.enroll import enroll\ntyper.run(enroll)"
NAMES = [
    "../../etc",
    "a/b",
    "👋 ünï",
    "[red]anna[/]",
    "'; DROP TABLE speakers; --",
    "-",
    "$(reboot) `id`",
    "a\x1b[31mb\nc",
]
COMMAND = typer.Typer()
COMMAND.command()(enroll)


def run(data: Path, *arguments: object) -> Result:
    words = ["--data-dir", str(data), *map(str, arguments)]
    return CliRunner().invoke(COMMAND, words, catch_exceptions=False, env={"COLUMNS": "200"})


def manifest(folder: Path, count: int, **more: Any) -> Path:
    """Write so many short recordings and the lines that name them."""
    rows = []
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", voice(0.3, seed=number), 16_000)
        rows.append({"audio": f"{number}.wav", "text": f"Text number {number}.", "seconds": 0.3} | more)
    path = folder / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def test_real_speech_is_handed_in_and_found_by_the_other_commands(tmp_path: Path) -> None:
    if not (SHARED / "data/dev.jsonl").is_file():
        pytest.skip("the speech is not here (set MYNA_SHARED)")
    lines = (SHARED / "data/dev.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    mine = [row for row in rows if row["speaker"] == rows[0]["speaker"]][:4]
    for number, (row, kind) in enumerate(zip(mine, ("opus", "flac", "wav", "mp3"), strict=True)):
        row["audio"] = str(SHARED / "data" / row["audio"])
        if kind != "opus":
            wave, rate_hz = soundfile.read(row["audio"], dtype="float32")
            row["audio"] = f"{number}.{kind}"
            soundfile.write(tmp_path / row["audio"], wave, rate_hz)
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, mine)), encoding="utf-8")
    data = tmp_path / "data"
    done = run(data, "anna", "--manifest", path, "--manifest-speaker", rows[0]["speaker"], "--json")
    assert done.exit_code == 0
    assert "4 kept, 0 kept before, 0 refused, 0 of other speakers." in done.stderr
    assert "myna speaker forget anna" in done.stderr
    found = json.loads(done.stdout)
    assert (found["speaker"], found["already"], found["others"], found["refused"]) == ("anna", 0, 0, [])
    kept = Store(data).utterances("anna")
    for one, row, said in zip(kept, mine, found["kept"], strict=True):
        assert (one.id, one.text, row["audio"]) == (said["id"], row["text"], said["audio"])
        assert one.seconds == pytest.approx(row["seconds"], abs=0.1) == said["seconds"]
    shown = CliRunner().invoke(speakers.app, ["show", "anna", "--data-dir", str(data)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(row["text"] in shown.stdout for row in mine)
    assert shown.stdout.count("enrolled") == 4
    assert "1.00" not in shown.stdout
    again = run(data, "anna", "--manifest", path, "--manifest-speaker", rows[0]["speaker"])
    assert again.exit_code == 0
    assert "0 kept, 4 kept before" in again.stderr


def test_refused_lines_are_named_and_not_fatal(tmp_path: Path) -> None:
    path = manifest(tmp_path, 2)
    with path.open("a", encoding="utf-8") as lines:
        lines.write("".join(json.dumps({"audio": "0.wav", "text": mark}) + "\n" for mark in "?!." * 5))
    done = run(tmp_path / "data", "anna", "--manifest", path)
    assert done.exit_code == 0
    assert f"{path}: line 3: text: holds no word" in done.stderr
    assert "and 5 more, which --json lists" in done.stderr
    assert "2 kept, 0 kept before, 15 refused" in done.stderr
    assert "myna adapt anna" in done.stderr


def test_nothing_of_the_speaker(tmp_path: Path) -> None:
    path = manifest(tmp_path, 3, speaker="ben")
    done = run(tmp_path / "data", "anna", "--manifest", path, "--json")
    assert done.exit_code == 1
    assert "No line is of anna. --manifest-speaker takes those of one of: ben" in done.stderr
    assert json.loads(done.stdout) == {"speaker": "anna", "kept": [], "already": 0, "others": 3, "refused": []}


def test_the_man_in_the_package(tmp_path: Path) -> None:
    done = json.loads(run(tmp_path / "data", "li", "--demo", "--json").stdout)
    assert [one["audio"] for one in done["kept"]] == [f"adapt-{number:02}.opus" for number in range(1, 11)]
    assert (done["others"], done["refused"]) == (0, [])
    assert len(Store(tmp_path / "data").utterances("li")) == 10


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    path = manifest(tmp_path, 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text": "[/] [bold]x \x1b[2J"}), encoding="utf-8")
    assert run(data, "--manifest", path, "--", name).exit_code == 0
    assert [one.name for one in Store(data).speakers()] == [name]
    for command, *words in (["list"], ["show", "--", name]):
        shown = CliRunner().invoke(speakers.app, [command, "--data-dir", str(data), *words], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        assert "\x1b[2J" not in shown.stdout
        assert "\x1b[31m" not in shown.stdout
    assert all("etc" not in path.name for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("name", ["", "a" * 201, "a\0b", "\udcff"], ids=range(4))
def test_no_name_is_refused_before_anything_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="speaker: must be 1 to 200"):
        run(tmp_path / "data", "--manifest", tmp_path / "absent", "--", name)
    assert not (tmp_path / "data").exists()


def test_wrong_usage(tmp_path: Path) -> None:
    path = manifest(tmp_path, 1)
    for words in (
        ["--manifest", path, "--prompts", path],
        ["--manifest-speaker", "ben"],
        ["--demo", "--manifest", path],
        ["--count", "0"],
    ):
        assert run(tmp_path / "data", "anna", *words).exit_code == 2
    with pytest.raises(DataError, match="No such file"):
        run(tmp_path / "data", "anna", "--manifest", tmp_path / "absent")
    with pytest.raises(DataError, match="No such file"):
        run(tmp_path / "data", "anna", "--prompts", tmp_path / "absent")
    assert not (tmp_path / "data").exists()


def test_enrolling_removes_nothing_that_a_server_keeps(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = Store(data, clock=lambda: 1.0)  # long ago: beyond the quotas that a store has unless it is told others
    store.keep("anna", Heard(voice(0.2), "old", 0.9, "session", "0", "tiny 1"))
    assert run(data, "anna", "--manifest", manifest(tmp_path, 2)).exit_code == 0
    assert [one.text for one in store.utterances("anna")] == ["old", "Text number 0.", "Text number 1."]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_broken_off_it_keeps_whole_utterances_and_goes_on(tmp_path: Path, number: int) -> None:
    data, total = tmp_path / "data", 200
    path = manifest(tmp_path, total)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "anna", "--manifest", str(path), "--data-dir", str(data), "--json"],
        env=environ, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and len(list(data.rglob("*.flac"))) < 3:
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode in ((-signal.SIGKILL,) if number == signal.SIGKILL else (130,))
    kept = Store(data).utterances("anna")
    assert 2 <= len(kept) < total
    for one in kept:
        np.testing.assert_array_equal(one.samples(), voice(0.3, seed=int(one.text.split()[-1][:-1])))
    if number == signal.SIGINT:
        assert [one["id"] for one in json.loads(output)["kept"]] == [one.id for one in kept]
        assert len(list(data.rglob("*.flac"))) == len(kept)
    done = json.loads(run(data, "anna", "--manifest", path, "--json").stdout)
    assert (len(done["kept"]), done["already"]) == (total - len(kept), len(kept))
    assert len(Store(data).utterances("anna")) == total
