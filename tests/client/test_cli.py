"""The commands as they are typed, against a real server."""

import json
from pathlib import Path

import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from myna.client import mic
from myna.client.cli import demo, transcribe
from myna.client.cli import mic as mic_command
from tests.server.speech import talk
from tests.support import TINY


def run(function: object, *args: str) -> Result:
    app = typer.Typer()
    app.command()(function)  # type: ignore[type-var]
    return CliRunner().invoke(app, args)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    names = [
        folder / f"clip{i}.{kind}" for i, kind in enumerate(("wav", "flac", "ogg", "mp3", "wav", "flac", "ogg", "wav"))
    ]
    for i, path in enumerate(names):
        soundfile.write(path, talk(("voice", 0.6 + 0.3 * i), ("silence", 1.0), ("voice", 0.7)), 16_000)
    return [str(path) for path in names]


def test_eight_at_once_say_what_one_at_a_time_does(url: str, clips: list[str]) -> None:
    together = run(transcribe, *clips, "--url", url, "--json", "--jobs", "8")
    assert together.exit_code == 0, together.output
    rows = [json.loads(line) for line in together.stdout.splitlines()]
    assert [row["file"] for row in rows] == clips
    alone = [json.loads(run(transcribe, clip, "--url", url, "--json").stdout) for clip in clips]
    assert rows == alone
    assert all(row["text"] for row in rows)


def test_text_and_subtitles(url: str, clips: list[str]) -> None:
    text = run(transcribe, clips[0], "--url", url).stdout
    assert len(text.splitlines()) == 2
    assert run(transcribe, *clips[:2], "--url", url).stdout.startswith(f"{clips[0]}:\n{text}{clips[1]}:\n")
    assert run(transcribe, clips[0], "--url", url, "--srt").stdout.startswith("1\n00:00:0")
    assert run(transcribe, clips[0], "--url", url, "--vtt").stdout.startswith("WEBVTT\n")


def test_output_goes_beside_each_other(url: str, clips: list[str], tmp_path: Path) -> None:
    done = run(transcribe, *clips[:2], "--url", url, "--srt", "--output", str(tmp_path / "out"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip0.srt", "clip1.srt"]


def test_a_bad_file_does_not_stop_the_others(url: str, clips: list[str], tmp_path: Path) -> None:
    done = run(transcribe, str(tmp_path / "none.wav"), clips[0], "--url", url, "--json")
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert "no such file" in rows[0]["error"]
    assert rows[1]["text"]
    assert "no such file" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--srt", "--vtt"], "choose one"),
        (["b.wav", "--srt"], "needs --output"),
        (["--url", "ws://x", "--model", "m"], "leave --model out"),
    ],
)
def test_wrong_usage(args: list[str], said: str) -> None:
    done = run(transcribe, "a.wav", *args)
    assert done.exit_code == 2
    assert said in done.stderr


def test_demo_starts_a_server_and_captions_the_clip() -> None:
    done = run(demo, "--fast", "--model", str(TINY))
    assert done.exit_code == 0, done.output
    assert "myna transcribe" in done.stdout
    found = json.loads(run(demo, "--fast", "--model", str(TINY), "--json").stdout)
    assert found["text"]
    assert found["seconds"] == pytest.approx(12.6, abs=0.1)


def test_mic_lists_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mic, "devices", lambda: [mic.Device(3, "Horn", 48_000, True), mic.Device(5, "Drum", 8_000, False)]
    )
    assert run(mic_command, "--list").stdout == "  3 Horn (default)\n  5 Drum\n"
